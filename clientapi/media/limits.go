package media

import (
	"sync"
	"time"

	"hearth/clientapi/media/storage"
	"hearth/internal/merr"
)

// turnstile bounds how many requests of one kind are at work.
type turnstile struct {
	each, all int

	mu     sync.Mutex // guards the rest
	inside int
	users  map[string]int
}

func newTurnstile(each, all int) *turnstile {
	return &turnstile{each: each, all: all, users: map[string]int{}}
}

// enter returns M_LIMIT_EXCEEDED if the user has too many at work, 503 if all have.
func (t *turnstile) enter(user string) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users[user] >= t.each {
		return nil, merr.LimitExceeded(time.Second)
	}
	if t.inside >= t.all {
		return nil, merr.Busy(time.Second)
	}
	t.users[user]++
	t.inside++
	return func() { t.leave(user) }, nil
}

func (t *turnstile) leave(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	if t.users[user]--; t.users[user] == 0 {
		delete(t.users, user)
	}
}

// waiting wakes requests for content that is uploaded later.
type waiting struct {
	max int

	mu    sync.Mutex // guards the rest
	n     int
	calls map[storage.MXC]*call
}

// call is all that wait for one URI.
type call struct {
	n     int
	ready chan struct{}
}

func newWaiting(most int) *waiting { return &waiting{max: most, calls: map[storage.MXC]*call{}} }

// join returns a channel that is closed when the content is there. ok is false if too
// many wait.
func (w *waiting) join(x storage.MXC) (ready <-chan struct{}, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= w.max {
		return nil, nil, false
	}
	c := w.calls[x]
	if c == nil {
		c = &call{ready: make(chan struct{})}
		w.calls[x] = c
	}
	c.n++
	w.n++
	return c.ready, func() { w.leave(x, c) }, true
}

func (w *waiting) leave(x storage.MXC, c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
	if c.n--; c.n == 0 && w.calls[x] == c {
		delete(w.calls, x)
	}
}

func (w *waiting) wake(x storage.MXC) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.calls[x]; c != nil {
		close(c.ready)
		delete(w.calls, x)
	}
}
