package crash

import (
	"slices"
	"testing"
	"time"
)

// runFake runs the load on a fake for a while.
func runFake(t *testing.T, fault string) (*load, *History) {
	f, users := startFake(t, fault)
	l := newLoad(t, users, 7, settings{senders: 4, rooms: 2, pace: time.Millisecond})
	f.mu.Lock()
	f.faulty = true
	f.mu.Unlock()
	l.start()
	// Every fault has had its chance after so many, also on a machine that is busy.
	for begin := time.Now(); len(l.record.acknowledged()) < 600 && time.Since(begin) < 30*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	close(l.stop)
	l.sending.Wait()
	time.Sleep(50 * time.Millisecond)
	l.stopSync()
	l.syncing.Wait()
	for _, r := range l.readers {
		l.drain(r)
	}
	f.mu.Lock()
	f.faulty = false // what is read now is the truth
	f.mu.Unlock()
	return l, l.collect()
}

// A server that fails and loses answers, but keeps its promises, passes.
func TestLoadOnAFlakyServer(t *testing.T) {
	l, h := runFake(t, "none")
	l.judge(h)
	if l.record.failures == 0 || l.readers[1].gaps == 0 || l.readers[0].again == 0 {
		t.Errorf("too little was tried: %s", l.summary(h))
	}
	t.Log(l.summary(h))
}

// Each broken promise of a server is found through the whole of load and readers.
func TestLoadFinds(t *testing.T) {
	for fault, kind := range map[string]string{
		"lost":                  lost,
		"forgotten transaction": changed,
		"skipped in sync":       lost,
		"token too far":         lost,
		"repeated in sync":      repeated,
		"swapped in sync":       reordered,
		"hole in a gap":         lost,
		"no state":              stale,
		"old receipt":           stale,
		"no account data":       stale,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			l, h := runFake(t, fault)
			found := Check(h)
			if !slices.ContainsFunc(found, func(p Problem) bool { return p.Kind == kind }) {
				t.Errorf("no %q in %d problems (%s): %v", kind, len(found), l.summary(h), found[:min(len(found), 5)])
			}
			if len(l.record.broken) > 0 {
				t.Errorf("a wrong answer: %v", l.record.broken)
			}
		})
	}
	for _, fault := range []string{"wrong answer", "no Matrix error"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			f, users := startFake(t, fault)
			l := newLoad(t, users, 7, settings{senders: 4, rooms: 2, pace: time.Millisecond})
			f.mu.Lock()
			f.faulty = true
			f.mu.Unlock()
			l.start()
			time.Sleep(200 * time.Millisecond)
			close(l.stop)
			l.stopSync()
			l.sending.Wait()
			l.syncing.Wait()
			if len(l.record.broken) == 0 {
				t.Error("the wrong answer was not noticed")
			}
		})
	}
}
