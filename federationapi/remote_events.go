package federationapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"hearth/federationapi/bigjson"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

const (
	maxBatch = 100 // events that are asked for at once
	// maxBatchAnswer bounds an answer with that many events, in bytes.
	maxBatchAnswer = 2 * maxBatch * pdu.MaxEventSize
)

// missingEvents asks for what is between events.
func (r *remote) missingEvents(ctx context.Context, req *remoteapi.MissingRequest) (*remoteapi.PDUs, error) {
	limit := min(max(req.Limit, 1), maxBatch)
	body := encode(map[string]any{
		"earliest_events": orEmpty(req.Earliest), "latest_events": orEmpty(req.Latest), "limit": limit, "min_depth": max(req.MinDepth, 0),
	})
	out, err := r.batch(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodPost, Path: path(v1+"/get_missing_events", req.RoomID), Body: body,
	}, req.RoomVersion, req.RoomID, "events", limit)
	if err != nil {
		return nil, err
	}
	fit(out, true)
	return out, nil
}

// backfill asks for events before others.
func (r *remote) backfill(ctx context.Context, req *remoteapi.BackfillRequest) (*remoteapi.PDUs, error) {
	limit := min(max(req.Limit, 1), maxBatch)
	out, err := r.batch(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodGet, Path: path(v1+"/backfill", req.RoomID),
		Query: url.Values{"v": req.From, "limit": {strconv.Itoa(limit)}},
	}, req.RoomVersion, req.RoomID, "pdus", limit+len(req.From)) // those asked for may come on top
	if err != nil {
		return nil, err
	}
	fit(out, false)
	return out, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// batch asks for at most limit events in a list.
func (r *remote) batch(ctx context.Context, q transport.Request, versionID, room, key string, limit int) (*remoteapi.PDUs, error) {
	v, err := version(versionID)
	if err != nil {
		return nil, err
	}
	q.MaxAnswer, q.Timeout = maxBatchAnswer, tryTime*2
	a, err := r.ask.Open(ctx, q, false)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &remoteapi.PDUs{}
	known := map[string]bool{}
	events := pipeline{ctx: ctx, ring: r.ring, version: v, room: room, emit: func(_ byte, e *pdu.Event) error {
		if !known[e.EventID] {
			known[e.EventID] = true
			out.Events = append(out.Events, pduwire.Of(e))
		}
		return nil
	}}
	in := bigjson.New(a, maxOneEvent)
	found := false
	err = in.Object(func(member string) error {
		if member != key {
			_, err := in.Value()
			return err
		}
		found = true
		n := 0
		return in.Array(func() error {
			raw, err := in.Value()
			if err != nil {
				return err
			}
			if n++; n > limit {
				return transport.Malformed("more than the %d events that were asked for", limit)
			}
			return events.add(remoteapi.KindAuth, raw)
		})
	})
	if err == nil {
		err = in.End()
	}
	if err == nil && !found {
		err = transport.Malformed("the list of events is missing")
	}
	if err == nil {
		err = events.finish()
	}
	if err != nil {
		return nil, foreign(err)
	}
	out.Bad = events.bad
	return out, nil
}

// fit drops events that a message of the bus has no room for: those at the front, which are
// older, or those at the end. They can be asked for again.
func fit(p *remoteapi.PDUs, front bool) {
	size := 0
	keep := len(p.Events)
	for i := range p.Events {
		at := i
		if front {
			at = len(p.Events) - 1 - i
		}
		if size += len(p.Events[at].JSON) + 200; size > maxCallAnswer {
			keep = i
			break
		}
	}
	if front {
		p.Events = p.Events[len(p.Events)-keep:]
	} else {
		p.Events = p.Events[:keep]
	}
}

// eventAt asks for the event next to a time.
func (r *remote) eventAt(ctx context.Context, req *remoteapi.EventAtRequest) (resp *remoteapi.EventAtResponse, err error) {
	query := url.Values{"ts": {strconv.FormatInt(req.TS, 10)}, "dir": {"f"}}
	if req.Backwards {
		query.Set("dir", "b")
	}
	err = r.each(ctx, req.Destinations, func(ctx context.Context, destination string) error {
		answer, err := r.object(ctx, destination, path(v1+"/timestamp_to_event", req.RoomID), query, false)
		if err != nil {
			return err
		}
		id, _ := pdu.GetString(answer, "event_id")
		ts, ok := pdu.GetInt(answer, "origin_server_ts")
		if _, _, wrong := pdu.ParseEventID(id); wrong != nil || !ok {
			return transport.Malformed("no event and its time")
		}
		if req.Backwards && ts > req.TS || !req.Backwards && ts < req.TS {
			return transport.Malformed("the event is on the other side of the time")
		}
		resp = &remoteapi.EventAtResponse{Destination: destination, EventID: id, TS: ts}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// policySign asks a policy server to sign an event.
func (r *remote) policySign(ctx context.Context, req *remoteapi.PolicySignRequest) (*remoteapi.Object, error) {
	answer, err := r.ask.Do(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodPost, Path: "/_matrix/policy/v1/sign", Body: req.Event,
		MaxAnswer: 64 << 10, Timeout: tryTime,
	}, true)
	if err != nil {
		return nil, err
	}
	signatures, _ := pdu.Get(answer, req.Destination)
	n, good := 0, true
	pdu.Members(signatures, func(_ string, val []byte) bool {
		n++
		good = good && pdu.Kind(val) == '"'
		return good
	})
	if !good || n == 0 || n > maxCosigned {
		return nil, transport.Malformed("no signature of the policy server")
	}
	return &remoteapi.Object{JSON: encode(map[string]json.RawMessage{req.Destination: signatures})}, nil
}
