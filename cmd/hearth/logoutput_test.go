package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is an output that nobody reads until it is freed.
type stuck struct {
	free chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func TestLogKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{free: make(chan struct{})}
		close(out.free)
		w := &logOutput{out: out}
		var want strings.Builder
		for i := range 1000 {
			line := fmt.Sprintf("line %d\n", i)
			want.WriteString(line)
			w.Write([]byte(line))
			if i%100 == 0 {
				time.Sleep(logDelay)
				synctest.Wait()
			}
		}
		time.Sleep(logDelay)
		synctest.Wait()
		if out.buf.String() != want.String() {
			t.Error("lines were lost or changed places")
		}
	})
}

func TestUnreadLogHoldsUpNobody(t *testing.T) {
	out := &stuck{free: make(chan struct{})}
	w := &logOutput{out: out}
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 5000 { // five times what is kept
		w.Write(line)
	}
	close(out.free)
	w.Flush()
	if n := out.buf.Len(); n > 3*logBuffer {
		t.Errorf("%d bytes were kept", n)
	}
	if !strings.Contains(out.buf.String(), "lines of the log were lost") {
		t.Error("the loss was not told")
	}
}
