package notify

import (
	"sync"
	"testing"
	"testing/synctest"
)

func heard(l *Listener) bool {
	select {
	case <-l.C():
		return true
	default:
		return false
	}
}

func TestRingWakesEachListenerOnce(t *testing.T) {
	var b Bell
	x, y := b.Listen(), b.Listen()
	b.Ring()
	b.Ring()
	for _, l := range []*Listener{x, y} {
		if !heard(l) || heard(l) {
			t.Error("a listener did not hear exactly once")
		}
	}
	b.Ring()
	x.Drain()
	if heard(x) || !heard(y) {
		t.Error("Drain took the wrong ring")
	}
}

func TestClosedListenersHearNothing(t *testing.T) {
	var b Bell
	list := []*Listener{b.Listen(), b.Listen(), b.Listen()}
	list[0].Close()
	list[0].Close()
	b.Ring()
	if heard(list[0]) || !heard(list[1]) || !heard(list[2]) {
		t.Error("wrong listeners heard the bell")
	}
	list[2].Close()
	list[1].Close()
	if b.Listeners() != 0 || b.listeners != nil {
		t.Error("closed listeners are kept")
	}
	b.Ring()
}

func TestNoRingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bell
		var mu sync.Mutex
		news := 0
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				l := b.Listen()
				defer l.Close()
				for {
					l.Drain()
					mu.Lock()
					n := news
					mu.Unlock()
					if n == 100 {
						return
					}
					<-l.C() // a lost ring would be a deadlock here, which the bubble reports
				}
			})
		}
		for range 100 {
			mu.Lock()
			news++
			mu.Unlock()
			b.Ring()
		}
		all.Wait()
	})
}
