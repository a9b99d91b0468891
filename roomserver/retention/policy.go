// Package retention works out how long the events of a room are kept (MSC1763).
package retention

import (
	"math"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// The types of the state event by which a room says how long its events are kept.
const (
	Type         = "m.room.retention"
	UnstableType = "org.matrix.msc1763.retention"
)

// MaxLifetime is the longest lifetime that anybody can ask for, in milliseconds: 2^53 - 1.
const MaxLifetime = 1<<53 - 1

// Facts are what a policy looks at.
type Facts struct {
	Public, Encrypted bool
	// Few says that the room has two members at most, with those who are invited.
	Few bool
	// Forgotten says that nobody of this server is in the room.
	Forgotten bool
	// Own is what the room says itself, in milliseconds; 0: nothing.
	Own int64
	// Override is what an administrator has set for the room, in milliseconds; 0: nothing.
	Override int64
}

// OwnLifetime reads max_lifetime of the content of an m.room.retention event, in milliseconds. Where it is missing
// or the policy is invalid (not a positive number, shorter than min_lifetime) it is 0.
func OwnLifetime(content []byte) int64 {
	longest, ok := lifetime(content, "max_lifetime")
	if !ok || longest == 0 {
		return 0
	}
	if shortest, ok := lifetime(content, "min_lifetime"); !ok || shortest > longest {
		return 0
	}
	return longest
}

// lifetime reads a time; ok is false if there is something else in its place.
func lifetime(content []byte, key string) (ms int64, ok bool) {
	if raw, found := pdu.Get(content, key); !found || string(raw) == "null" {
		return 0, true
	}
	ms, ok = pdu.GetInt(content, key)
	return ms, ok && ms > 0 && ms <= MaxLifetime
}

// Check refuses, 400 M_INVALID_PARAM, a policy that contradicts itself.
func Check(p *roomapi.RetentionPolicy) error {
	for name, ms := range map[string]int64{
		"default_max_lifetime": p.DefaultMaxLifetime, "allowed_lifetime_min": p.AllowedLifetimeMin, "allowed_lifetime_max": p.AllowedLifetimeMax,
		"direct": p.Direct, "private": p.Private, "public": p.Public, "encrypted": p.Encrypted, "forgotten": p.Forgotten,
	} {
		if ms < 0 || ms > MaxLifetime {
			return merr.InvalidParam("%s must be a number of milliseconds, or 0", name)
		}
	}
	if p.AllowedLifetimeMax > 0 && p.AllowedLifetimeMin > p.AllowedLifetimeMax {
		return merr.InvalidParam("allowed_lifetime_min must not be greater than allowed_lifetime_max")
	}
	return nil
}

// Shortest is the shortest lifetime that an administrator may set, in milliseconds: what is less was meant in
// another unit, and would delete everything.
const Shortest = 60_000

// CheckSet is Check for a policy that is about to hold: 400 M_INVALID_PARAM also for lifetimes below Shortest.
func CheckSet(p *roomapi.RetentionPolicy) error {
	for _, ms := range []int64{p.DefaultMaxLifetime, p.AllowedLifetimeMax, p.Direct, p.Private, p.Public, p.Encrypted, p.Forgotten} {
		if ms > 0 && ms < Shortest {
			return merr.InvalidParam("A lifetime is in milliseconds: at least %d, or 0 for none", Shortest)
		}
	}
	return Check(p)
}

// Lifetime is how long the events of a room are kept, in milliseconds; 0: without end. What the room says itself
// is first brought within the allowed limits and stands in the place of the default; then the shortest of all
// that applies counts.
func Lifetime(p *roomapi.RetentionPolicy, f Facts) int64 {
	own := p.DefaultMaxLifetime
	if f.Own > 0 && !p.IgnoreRooms {
		own = clamp(f.Own, p.AllowedLifetimeMin, p.AllowedLifetimeMax)
	}
	candidates := []int64{own, f.Override}
	switch {
	case f.Public:
		candidates = append(candidates, p.Public)
	case f.Few:
		candidates = append(candidates, p.Direct)
	default:
		candidates = append(candidates, p.Private)
	}
	if f.Encrypted {
		candidates = append(candidates, p.Encrypted)
	}
	if f.Forgotten {
		candidates = append(candidates, p.Forgotten)
	}
	shortest := int64(math.MaxInt64)
	for _, ms := range candidates {
		if ms > 0 {
			shortest = min(shortest, ms)
		}
	}
	if shortest == math.MaxInt64 {
		return 0
	}
	return shortest
}

// Everywhere reports whether the policy may bound a room that says nothing itself.
func Everywhere(p *roomapi.RetentionPolicy) bool {
	return p.DefaultMaxLifetime+p.Direct+p.Private+p.Public+p.Encrypted+p.Forgotten > 0
}

// clamp brings a lifetime within limits; a limit of 0 is none.
func clamp(ms, low, high int64) int64 {
	if high > 0 {
		ms = min(ms, high)
	}
	return max(ms, low)
}
