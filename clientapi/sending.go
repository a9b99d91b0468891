package clientapi

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"hearth/internal/matrixhttp"
)

const (
	// maxHold bounds how long a sync waits for answers to its device's own sends.
	maxHold = 250 * time.Millisecond
	// headStart is what such an answer gets before the sync: they take different
	// connections to the client.
	headStart = 10 * time.Millisecond
)

// sending knows which devices are about to be told the id of an event that they sent.
// A sync that the same device made before it was told, and that has something to tell,
// waits for that: clients match the event of a sync with the one they sent by its id,
// and some never do if they learn the id last. Nothing depends on it, so nothing of it
// is kept.
type sending struct {
	mu      sync.Mutex // guards devices and what is in them
	devices map[deviceKey][]*inSending
}

type deviceKey struct{ userID, deviceID string }

// inSending is one request that sends an event, until headStart after its answer.
type inSending struct {
	answered chan struct{} // nil until somebody waits
	at       time.Time     // of the answer; zero: there is none
}

func newSending() *sending { return &sending{devices: make(map[deviceKey][]*inSending)} }

// begin notes that a request sends an event; it ends when its answer is on its way.
func (s *sending) begin(r *matrixhttp.Request) {
	if r.Identity.DeviceID == "" {
		return
	}
	key, one := deviceKey{r.Identity.UserID, r.Identity.DeviceID}, &inSending{}
	s.mu.Lock()
	s.devices[key] = append(s.devices[key], one)
	s.mu.Unlock()
	r.Answered(func() { s.end(key, one) })
}

func (s *sending) end(key deviceKey, one *inSending) {
	s.mu.Lock()
	one.at = time.Now()
	if one.answered != nil {
		close(one.answered)
	}
	s.mu.Unlock()
	time.AfterFunc(headStart, func() { s.forget(key, one) })
}

func (s *sending) forget(key deviceKey, one *inSending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.devices[key]
	if i := slices.Index(all, one); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if s.devices[key] = all; len(all) == 0 {
		delete(s.devices, key)
	}
}

// wait returns headStart after the last answer to what the device is sending now or was
// sending at since, or after maxHold.
func (s *sending) wait(ctx context.Context, key deviceKey, since time.Time) {
	s.mu.Lock()
	all := slices.Clone(s.devices[key])
	for _, one := range all {
		if one.answered == nil && one.at.IsZero() {
			one.answered = make(chan struct{})
		}
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxHold)
	defer cancel()
	for _, one := range all {
		if one.answered == nil {
			continue // it was answered before
		}
		select {
		case <-one.answered:
		case <-ctx.Done():
			return
		}
	}
	timer := time.NewTimer(time.Until(s.ready(all, since)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ready is when sends that are answered have had their head start, if a sync of since
// can meet their answers.
func (s *sending) ready(all []*inSending, since time.Time) (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range all {
		if one.at.After(since) && one.at.Add(headStart).After(at) {
			at = one.at.Add(headStart)
		}
	}
	return at
}

// heldWriter is an answer to a device whose first byte waits for what it is sending.
// What is in the answer was chosen before that byte, so whatever else the device sends
// from then on is not in it.
type heldWriter struct {
	w     io.Writer
	hold  func()
	begun bool
}

func (w *heldWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.hold()
	}
	return w.w.Write(p)
}

// held is w with its first byte held back as [heldWriter] says.
func (s *sending) held(ctx context.Context, r *matrixhttp.Request, w io.Writer) io.Writer {
	key, since := deviceKey{r.Identity.UserID, r.Identity.DeviceID}, time.Now()
	return &heldWriter{w: w, hold: func() { s.wait(ctx, key, since) }}
}
