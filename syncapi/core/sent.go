package core

import (
	"hash/maphash"
	"sync/atomic"

	"hearth/internal/lru"
)

// Sent remembers which member events a lazily loading device was sent, in bounded
// memory. What it has forgotten is sent again, which is allowed (client-server
// API, "Lazy-loading room members").
//
// A mark holds the position of the answer that carried the event. A device knows
// the event if it comes with that position or a later one: an answer that got lost
// on the way counts for nothing, since the device repeats its old position.
type Sent struct {
	seed    maphash.Seed
	last    atomic.Uint64
	devices *lru.Cache[deviceKey, uint64] // the device's generation
	marks   *lru.Cache[uint64, int64]
}

type deviceKey struct{ user, device string }

// NewSent returns a memory for so many marks, of about 150 bytes each.
func NewSent(marks int) *Sent {
	return &Sent{
		seed:    maphash.MakeSeed(),
		devices: lru.New[deviceKey, uint64](max(1, marks/16), nil),
		marks:   lru.New[uint64, int64](marks, nil),
	}
}

// Device is a device's part of Sent.
type Device struct {
	sent       *Sent
	generation uint64
}

// Device returns the part of a device; fresh if it starts from nothing.
func (s *Sent) Device(user, device string, fresh bool) Device {
	key := deviceKey{user, device}
	generation, ok := s.devices.Get(key)
	if fresh || !ok {
		generation = s.last.Add(1)
		s.devices.Put(key, generation)
	}
	return Device{sent: s, generation: generation}
}

// Known reports whether a device that has come to position since has the member event.
func (d Device) Known(roomID, user string, since int64) bool {
	pos, ok := d.sent.marks.Get(d.key(roomID, user))
	return ok && pos <= since
}

// Mark notes that the answer at position now carries the member event.
func (d Device) Mark(roomID, user string, now int64) {
	d.sent.marks.Put(d.key(roomID, user), now)
}

func (d Device) key(roomID, user string) uint64 {
	return maphash.Comparable(d.sent.seed, struct {
		generation uint64
		room, user string
	}{d.generation, roomID, user})
}
