// Package notify wakes those who wait for something new. A bell tells that there
// is something, not what: who wakes up looks for itself.
package notify

import "sync"

// Bell is what a group of listeners waits for. The zero Bell is ready. All methods
// may be used at the same time.
type Bell struct {
	mu        sync.Mutex // guards listeners and their at
	listeners []*Listener
}

// Listener hears a bell until Close.
type Listener struct {
	bell *Bell
	c    chan struct{}
	at   int // index in bell.listeners; -1 after Close
}

// Listen adds a listener. Whoever looks for news after Listen and then waits on C
// misses nothing.
func (b *Bell) Listen() *Listener {
	l := &Listener{bell: b, c: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.at = len(b.listeners)
	b.listeners = append(b.listeners, l)
	return l
}

// Ring wakes every listener. It never blocks; several rings before a listener
// looks are one.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.listeners {
		select {
		case l.c <- struct{}{}:
		default:
		}
	}
}

// Listeners returns how many listen now.
func (b *Bell) Listeners() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners)
}

// C receives once after one or more rings.
func (l *Listener) C() <-chan struct{} { return l.c }

// Drain forgets a ring that was not received yet; call it before looking for news.
func (l *Listener) Drain() {
	select {
	case <-l.c:
	default:
	}
}

// Close stops listening. It may be called more than once.
func (l *Listener) Close() {
	b := l.bell
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.at < 0 {
		return
	}
	last := len(b.listeners) - 1
	moved := b.listeners[last]
	b.listeners[l.at], moved.at = moved, l.at
	b.listeners[last] = nil
	b.listeners = b.listeners[:last]
	l.at = -1
	if last == 0 {
		b.listeners = nil // a burst of listeners leaves no large array behind
	}
}
