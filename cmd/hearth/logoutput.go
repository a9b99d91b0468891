package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Bounds of the log's buffer.
const (
	logBuffer = 1 << 20
	logDelay  = 50 * time.Millisecond
)

// logOutput writes the log behind the backs of those who log, so that an output that
// nobody reads cannot hold up requests. What does not fit is counted and told.
type logOutput struct {
	out io.Writer

	mu    sync.Mutex // guards what follows
	buf   []byte
	spare []byte
	lost  int
	due   bool // a flush is on its way

	writing sync.Mutex // held while writing, for the order of lines
}

// Write queues one line. It never blocks and never fails.
func (w *logOutput) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf)+len(line) > logBuffer {
		w.lost++
		return len(line), nil
	}
	w.buf = append(w.buf, line...)
	if !w.due {
		w.due = true
		time.AfterFunc(logDelay, w.Flush)
	}
	return len(line), nil
}

// Flush writes what is queued.
func (w *logOutput) Flush() {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	buf, lost := w.buf, w.lost
	w.buf, w.spare, w.lost, w.due = w.spare[:0], nil, 0, false
	w.mu.Unlock()
	if len(buf) > 0 {
		_, _ = w.out.Write(buf) // there is nowhere to tell that the log cannot be written
	}
	if lost > 0 {
		_, _ = fmt.Fprintf(w.out, "%d lines of the log were lost: the output was not read\n", lost)
	}
	w.mu.Lock()
	w.spare = buf[:0]
	w.mu.Unlock()
}
