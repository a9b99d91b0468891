package federationapi

import (
	"context"
	"net/http"
	"net/url"

	"golang.org/x/sync/errgroup"

	"hearth/federationapi/bigjson"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/federationapi/verify"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

const (
	maxIDs       = 500_000 // in an answer of /state_ids
	maxFetched   = 1000    // events of one call
	eventsAtOnce = 6
)

// writeJoin writes an event of the state or the auth chain.
func writeJoin(w *remoteapi.JoinWriter, kind byte, e *pdu.Event) error {
	if kind == remoteapi.KindState {
		return w.State(pduwire.Of(e))
	}
	return w.Auth(pduwire.Of(e))
}

// state streams the state before an event.
func (r *remote) state(ctx context.Context, req *remoteapi.StateIDsRequest, send func([]byte) error) error {
	w := remoteapi.NewJoinWriter(send)
	err := r.stream(ctx, streamed{
		destination: req.Destination, room: req.RoomID, version: req.RoomVersion,
		path: path(v1+"/state", req.RoomID), query: url.Values{"event_id": {req.EventID}},
		lists: map[string]byte{"pdus": remoteapi.KindState, "auth_chain": remoteapi.KindAuth},
	}, func(kind byte, e *pdu.Event) error { return writeJoin(w, kind, e) })
	if err != nil {
		return err
	}
	return w.Flush()
}

// eventAuth streams the auth chain of an event.
func (r *remote) eventAuth(ctx context.Context, req *remoteapi.EventAuthRequest, send func([]byte) error) error {
	w := pduwire.NewWriter(send)
	err := r.stream(ctx, streamed{
		destination: req.Destination, room: req.RoomID, version: req.RoomVersion,
		path: path(v1+"/event_auth", req.RoomID, req.EventID), lists: map[string]byte{"auth_chain": remoteapi.KindAuth},
	}, func(kind byte, e *pdu.Event) error { return w.Write(kind, pduwire.Of(e)) })
	if err != nil {
		return err
	}
	return w.Flush()
}

// streamed is a request whose answer holds lists of state events of a room, by their key.
type streamed struct {
	destination, room, version, path string
	query                            url.Values
	lists                            map[string]byte
}

// stream sends a request and hands on the events that come back.
func (r *remote) stream(ctx context.Context, q streamed, emit func(kind byte, e *pdu.Event) error) error {
	v, err := version(q.version)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := r.ask.Open(ctx, transport.Request{
		Destination: q.destination, Method: http.MethodGet, Path: q.path, Query: q.query, Timeout: stateTime, Wait: stateTime, MaxAnswer: maxState,
	}, false)
	if err != nil {
		return err
	}
	defer a.Close()
	events := pipeline{ctx: ctx, ring: r.ring, version: v, room: q.room, stateOnly: true, emit: emit}
	in := bigjson.New(a, maxOneEvent)
	found := 0
	err = in.Object(func(key string) error {
		kind, ok := q.lists[key]
		if !ok {
			_, err := in.Value()
			return err
		}
		found++
		return in.Array(func() error {
			raw, err := in.Value()
			if err != nil {
				return err
			}
			return events.add(kind, raw)
		})
	})
	if err == nil {
		err = in.End()
	}
	if err == nil && found != len(q.lists) {
		err = transport.Malformed("a list of events is missing")
	}
	if err == nil {
		err = events.finish()
	}
	if err != nil {
		return foreign(err)
	}
	return nil
}

// stateIDs returns the ids of the state before an event.
func (r *remote) stateIDs(ctx context.Context, req *remoteapi.StateIDsRequest) (*remoteapi.StateIDsResponse, error) {
	v, err := version(req.RoomVersion)
	if err != nil {
		return nil, err
	}
	a, err := r.ask.Open(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodGet, Path: path(v1+"/state_ids", req.RoomID),
		Query: url.Values{"event_id": {req.EventID}}, Timeout: stateTime, Wait: stateTime, MaxAnswer: maxIDs * 2 * 64,
	}, false)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	in := bigjson.New(a, 64<<10)
	lists := map[string][]string{}
	err = in.Object(func(key string) error {
		if key != "pdu_ids" && key != "auth_chain_ids" {
			_, err := in.Value()
			return err
		}
		list := []string{}
		err := in.Array(func() error {
			raw, err := in.Value()
			if err != nil {
				return err
			}
			id, ok := pdu.String(raw)
			if !ok || !validEventID(v, id) || len(list) == maxIDs {
				return transport.Malformed("a list of event ids holds something else, or too much")
			}
			list = append(list, id)
			return nil
		})
		lists[key] = list
		return err
	})
	if err == nil {
		err = in.End()
	}
	if err == nil && len(lists) != 2 {
		err = transport.Malformed("a list of event ids is missing")
	}
	if err != nil {
		return nil, foreign(err)
	}
	return &remoteapi.StateIDsResponse{State: lists["pdu_ids"], AuthChain: lists["auth_chain_ids"]}, nil
}

// validEventID reports whether an id can be one in rooms of a version.
func validEventID(v *pdu.RoomVersion, id string) bool {
	_, domain, err := pdu.ParseEventID(id)
	return err == nil && (v.EventFormat == 1) == (domain != "")
}

// events fetches single events.
func (r *remote) events(ctx context.Context, req *remoteapi.EventsRequest, send func([]byte) error) error {
	v, err := version(req.RoomVersion)
	if err != nil {
		return err
	}
	if len(req.EventIDs) > maxFetched {
		return merr.InvalidParam("More than %d events", maxFetched)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(eventsAtOnce + 1)
	type fetched struct {
		event *pdu.Event
		err   error
	}
	found := make(chan fetched, eventsAtOnce)
	group.Go(func() error {
		w := pduwire.NewWriter(send)
		var failed error
		got := 0
		for range req.EventIDs {
			var f fetched
			select {
			case f = <-found:
			case <-ctx.Done():
				return merr.Unavailable("The request was cancelled").WithCause(ctx.Err())
			}
			if f.err != nil {
				failed = better(failed, f.err)
				continue
			}
			got++
			if err := w.Write(remoteapi.KindAuth, pduwire.Of(f.event)); err != nil {
				return err
			}
		}
		if got == 0 && failed != nil && merr.From(failed).Temporary {
			return failed
		}
		return w.Flush()
	})
	for _, id := range req.EventIDs {
		group.Go(func() error {
			e, err := r.fetchEvent(ctx, v, req, id)
			select {
			case found <- fetched{e, err}:
			case <-ctx.Done():
			}
			return nil
		})
	}
	return group.Wait()
}

// fetchEvent fetches one event and checks that it is the one.
func (r *remote) fetchEvent(ctx context.Context, v *pdu.RoomVersion, req *remoteapi.EventsRequest, id string) (*pdu.Event, error) {
	answer, err := r.object(ctx, req.Destination, path(v1+"/event", id), nil, false)
	if err != nil {
		return nil, err
	}
	list, _ := pdu.Get(answer, "pdus")
	found, err := raws(list, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, merr.NotFound("The other server does not give the event")
	}
	e, err := verify.Event(ctx, r.ring, v, found[0])
	if err != nil {
		return nil, transport.Malformed("the event: %w", err)
	}
	if e.EventID != id || e.RoomID != req.RoomID {
		return nil, transport.Malformed("it is not the event that was asked for")
	}
	return e, nil
}
