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
// the event if it comes with that position or a later one. When a device comes with
// another position than that of its last answer, that answer got lost, and all marks
// of the device are void: the next answer need not carry the same events.
type Sent struct {
	seed    maphash.Seed
	last    atomic.Uint64
	devices *lru.Cache[deviceKey, deviceMarks]
	marks   *lru.Cache[uint64, int64]
}

type deviceKey struct{ user, device string }

// deviceMarks says which marks of a device hold.
type deviceMarks struct {
	generation uint64
	answered   int64 // position of the last answer
}

// NewSent returns a memory for so many marks, of about 150 bytes each.
func NewSent(marks int) *Sent {
	return &Sent{
		seed:    maphash.MakeSeed(),
		devices: lru.New[deviceKey, deviceMarks](max(1, marks/16), nil),
		marks:   lru.New[uint64, int64](marks, nil),
	}
}

// Device is a device's part of Sent.
type Device struct {
	sent       *Sent
	key        deviceKey
	generation uint64
}

// Device returns the part of a device that comes with the position since; fresh if it
// starts from nothing.
func (s *Sent) Device(user, device string, fresh bool, since int64) Device {
	key := deviceKey{user, device}
	marks, ok := s.devices.Get(key)
	if fresh || !ok || marks.answered != since {
		marks = deviceMarks{s.last.Add(1), since}
		s.devices.Put(key, marks)
	}
	return Device{sent: s, key: key, generation: marks.generation}
}

// Answered notes that the device was given an answer that ends at now.
func (d Device) Answered(now int64) {
	if marks, ok := d.sent.devices.Get(d.key); ok && marks.generation == d.generation {
		d.sent.devices.Put(d.key, deviceMarks{d.generation, now})
	}
}

// Known reports whether a device that has come to position since has the member event.
func (d Device) Known(roomID, user string, since int64) bool {
	pos, ok := d.sent.marks.Get(d.mark(roomID, user))
	return ok && pos <= since
}

// Mark notes that the answer at position now carries the member event.
func (d Device) Mark(roomID, user string, now int64) {
	d.sent.marks.Put(d.mark(roomID, user), now)
}

func (d Device) mark(roomID, user string) uint64 {
	return maphash.Comparable(d.sent.seed, struct {
		generation uint64
		room, user string
	}{d.generation, roomID, user})
}
