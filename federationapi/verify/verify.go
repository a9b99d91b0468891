// Package verify makes the first three of the checks that an event from another server
// must pass (server-server API, "Checks performed on receipt of a PDU"): its format, its
// signatures, its content hash.
package verify

import (
	"context"
	"encoding/json"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"hearth/federationapi/keys"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

// Ring finds keys, as [keys.Ring] does.
type Ring interface {
	Keys(ctx context.Context, wants []keys.Want) []keys.Result
}

// Failure is an event that must be dropped.
type Failure struct {
	// Index is its place among those that were given.
	Index int
	// EventID is empty if the format is so wrong that there is none.
	EventID string
	// Err is a *merr.Error: 400 or 413 for the format, 401 for a signature. Temporary says
	// that a key could not be had now.
	Err error
}

// PDUs checks events of one room version. Those that pass come back in their order, in
// their redacted form where the content hash does not match. What occurs twice counts
// once. raws may be hostile; they are not kept.
func PDUs(ctx context.Context, ring Ring, v *pdu.RoomVersion, raws []json.RawMessage) (good []pduwire.PDU, bad []Failure) {
	events, bad := Events(ctx, ring, v, raws)
	good = make([]pduwire.PDU, len(events))
	for i, e := range events {
		good[i] = pduwire.Of(e)
	}
	return good, bad
}

// Events is PDUs for who needs the events themselves.
func Events(ctx context.Context, ring Ring, v *pdu.RoomVersion, raws []json.RawMessage) (good []*pdu.Event, bad []Failure) {
	return events(ctx, ring, v, raws, "")
}

// Event checks one event.
func Event(ctx context.Context, ring Ring, v *pdu.RoomVersion, raw json.RawMessage) (*pdu.Event, error) {
	return Submitted(ctx, ring, v, raw, "")
}

// Submitted checks an event that comes to the server own to be signed: of a restricted
// join that own authorises its signature may be missing.
func Submitted(ctx context.Context, ring Ring, v *pdu.RoomVersion, raw json.RawMessage, own string) (*pdu.Event, error) {
	good, bad := events(ctx, ring, v, []json.RawMessage{raw}, own)
	if len(bad) > 0 {
		return nil, bad[0].Err
	}
	return good[0], nil
}

func events(ctx context.Context, ring Ring, v *pdu.RoomVersion, raws []json.RawMessage, own string) (good []*pdu.Event, bad []Failure) {
	checks := make([]check, len(raws))
	parallel(len(raws), func(i int) { checks[i].parse(v, raws[i], own) })
	once(checks)
	found := find(ctx, ring, checks)
	parallel(len(raws), func(i int) { checks[i].verify(found) })
	known := make(map[string]bool, len(checks))
	for i := range checks {
		switch c := &checks[i]; {
		case c.err != nil:
			bad = append(bad, Failure{Index: i, EventID: c.id(), Err: c.err})
		case !c.again && !known[c.event.EventID]:
			known[c.event.EventID] = true
			good = append(good, c.event)
		}
	}
	return good, bad
}

// check is one event on its way.
type check struct {
	event *pdu.Event
	needs []need
	again bool // the same event came before
	err   error
}

func (c *check) id() string {
	if c.event == nil {
		return ""
	}
	return c.event.EventID
}

func (c *check) parse(v *pdu.RoomVersion, raw []byte, own string) {
	if c.event, c.err = pdu.Parse(v, raw); c.err == nil {
		c.needs, c.err = needsOf(c.event, own)
	}
}

// once marks what came before. Copies that differ are all checked: one may have the
// signature that another lacks.
func once(checks []check) {
	seen := make(map[string]string, len(checks))
	for i := range checks {
		c := &checks[i]
		if c.err != nil {
			continue
		}
		body, ok := seen[c.event.EventID]
		if c.again = ok && body == string(c.event.JSON); !ok {
			seen[c.event.EventID] = string(c.event.JSON)
		}
	}
}

// find asks for all the keys at the same time, each once.
func find(ctx context.Context, ring Ring, checks []check) map[keys.Want]keys.Result {
	out := map[keys.Want]keys.Result{}
	var wants []keys.Want
	for i := range checks {
		if checks[i].err != nil || checks[i].again {
			continue
		}
		for _, n := range checks[i].needs {
			for _, w := range n.wants {
				if _, ok := out[w]; !ok {
					out[w] = keys.Result{}
					wants = append(wants, w)
				}
			}
		}
	}
	if len(wants) == 0 {
		return out
	}
	for i, result := range ring.Keys(ctx, wants) {
		out[wants[i]] = result
	}
	return out
}

func (c *check) verify(found map[keys.Want]keys.Result) {
	if c.err != nil || c.again {
		return
	}
	for _, n := range c.needs {
		if c.err = n.verify(c.event, found); c.err != nil {
			c.err = merr.From(c.err)
			return
		}
	}
}

// parallel calls f for 0 to n-1, on as many processors as there are.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				f(i)
			}
		})
	}
	_ = group.Wait() // no goroutine fails
}
