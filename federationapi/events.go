package federationapi

import (
	"encoding/json"
	"io"
	"math"
	"strconv"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// Limits of requests for events.
const (
	maxBackfill   = 100
	maxMissing    = 50
	defaultCount  = 10
	maxNamedIDs   = 100 // event ids in one request
	maxTimestamp  = math.MaxInt64
	leastDepth    = 0
	greatestDepth = pdu.MaxDepth
)

// event is GET /_matrix/federation/v1/event/{eventId} ("Retrieving events").
func (s *Server) event(r *matrixhttp.Request) (any, error) {
	id := r.Param("eventId")
	if _, _, err := pdu.ParseEventID(id); err != nil {
		return nil, err
	}
	p, err := roomapi.FederationEvent.Do(r.Context(), s.deps.Bus, &roomapi.FederationEventRequest{Origin: r.Identity.Server, EventID: id})
	if err != nil {
		return nil, err
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		_, err := w.Write(append(append(s.appendTransaction(nil), p.JSON...), "]}"...))
		return err
	}), nil
}

// appendTransaction begins an answer that has the form of a transaction.
func (s *Server) appendTransaction(dst []byte) []byte {
	dst = pdu.AppendString(append(dst, `{"origin":`...), s.deps.ServerName)
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), s.deps.Now().UnixMilli(), 10)
	return append(dst, `,"pdus":[`...)
}

// state is GET /_matrix/federation/v1/state/{roomId}.
func (s *Server) state(r *matrixhttp.Request) (any, error) { return s.stateBefore(r, false) }

// stateIDs is GET /_matrix/federation/v1/state_ids/{roomId}.
func (s *Server) stateIDs(r *matrixhttp.Request) (any, error) { return s.stateBefore(r, true) }

func (s *Server) stateBefore(r *matrixhttp.Request, ids bool) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	id := query.String("event_id")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if id == "" {
		return nil, merr.MissingParam("event_id")
	}
	if _, _, err := pdu.ParseEventID(id); err != nil {
		return nil, err
	}
	req := &roomapi.FederationStateRequest{Origin: r.Identity.Server, RoomID: room, EventID: id, IDs: ids}
	ctx := r.Context()
	return matrixhttp.Stream(func(w io.Writer) error {
		return copyStream(w, "", "", func(recv func([]byte) error) error {
			return roomapi.FederationState.Do(ctx, s.deps.Bus, req, recv)
		})
	}), nil
}

// eventAuth is GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}.
func (s *Server) eventAuth(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	id := r.Param("eventId")
	if _, _, err := pdu.ParseEventID(id); err != nil {
		return nil, err
	}
	req := &roomapi.FederationEventRequest{Origin: r.Identity.Server, RoomID: room, EventID: id}
	ctx := r.Context()
	return matrixhttp.Stream(func(w io.Writer) error {
		return copyStream(w, "", "", func(recv func([]byte) error) error {
			return roomapi.FederationEventAuth.Do(ctx, s.deps.Bus, req, recv)
		})
	}), nil
}

// backfill is GET /_matrix/federation/v1/backfill/{roomId} ("Backfilling and retrieving
// missing events").
func (s *Server) backfill(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req := &roomapi.FederationBackfillRequest{
		Origin: r.Identity.Server, RoomID: room, From: query.All("v"), Limit: int(query.Int("limit", 0, 0, maxBackfill)),
	}
	if err := query.Err(); err != nil {
		return nil, err
	}
	switch {
	case len(req.From) == 0:
		return nil, merr.MissingParam("v")
	case !query.Has("limit"):
		return nil, merr.MissingParam("limit")
	}
	if err := checkIDs("v", req.From); err != nil {
		return nil, err
	}
	return s.events(string(s.appendTransaction(nil)), func(recv func([]byte) error) error {
		if req.Limit == 0 {
			return nil
		}
		return roomapi.FederationBackfill.Do(r.Context(), s.deps.Bus, req, recv)
	}), nil
}

type missingRequest struct {
	Earliest []string `json:"earliest_events"`
	Latest   []string `json:"latest_events"`
	Limit    *int64   `json:"limit"`
	MinDepth *int64   `json:"min_depth"`
}

// missingEvents is POST /_matrix/federation/v1/get_missing_events/{roomId}.
func (s *Server) missingEvents(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[missingRequest](r)
	if err != nil {
		return nil, err
	}
	req := &roomapi.FederationMissingRequest{
		Origin: r.Identity.Server, RoomID: room, Earliest: body.Earliest, Latest: body.Latest, Limit: defaultCount, MinDepth: leastDepth,
	}
	if body.Limit != nil {
		req.Limit = int(max(0, min(*body.Limit, maxMissing)))
	}
	if body.MinDepth != nil {
		req.MinDepth = max(leastDepth, min(*body.MinDepth, greatestDepth))
	}
	for name, ids := range map[string][]string{"earliest_events": req.Earliest, "latest_events": req.Latest} {
		if err := checkIDs(name, ids); err != nil {
			return nil, err
		}
	}
	return s.events(`{"events":[`, func(recv func([]byte) error) error {
		if req.Limit == 0 || len(req.Latest) == 0 {
			return nil
		}
		return roomapi.FederationMissing.Do(r.Context(), s.deps.Bus, req, recv)
	}), nil
}

func checkIDs(name string, ids []string) error {
	if len(ids) > maxNamedIDs {
		return merr.InvalidParam("%s has more than %d events", name, maxNamedIDs)
	}
	for _, id := range ids {
		if _, _, err := pdu.ParseEventID(id); err != nil {
			return err
		}
	}
	return nil
}

// events answers with the PDUs of a stream, in an array that head opens.
func (s *Server) events(head string, do func(recv func([]byte) error) error) matrixhttp.Stream {
	return func(w io.Writer) error {
		first := true
		err := do(func(chunk []byte) error {
			var out []byte
			err := pduwire.Read(chunk, func(_ byte, p pduwire.PDU) error {
				if first {
					out = append(out, head...)
				} else {
					out = append(out, ',')
				}
				first = false
				out = append(out, p.JSON...)
				return nil
			})
			if err != nil {
				return err
			}
			_, err = w.Write(out)
			return err
		})
		if err != nil {
			return err
		}
		tail := "]}"
		if first {
			tail = head + tail
		}
		_, err = io.WriteString(w, tail)
		return err
	}
}

// eventAt is GET /_matrix/federation/v1/timestamp_to_event/{roomId}.
func (s *Server) eventAt(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	ts, dir := query.Int("ts", 0, math.MinInt64, maxTimestamp), query.Enum("dir", "", "f", "b")
	if err := query.Err(); err != nil {
		return nil, err
	}
	switch {
	case !query.Has("ts"):
		return nil, merr.MissingParam("ts")
	case dir == "":
		return nil, merr.MissingParam("dir")
	}
	at, err := roomapi.FederationEventAt.Do(r.Context(), s.deps.Bus, &roomapi.FederationEventAtRequest{
		Origin: r.Identity.Server, RoomID: room, TS: ts, Backwards: dir == "b",
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"event_id": at.EventID, "origin_server_ts": at.TS}, nil
}

// hierarchy is GET /_matrix/federation/v1/hierarchy/{roomId} ("Spaces").
func (s *Server) hierarchy(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req := &roomapi.FederationHierarchyRequest{Origin: r.Identity.Server, RoomID: room, SuggestedOnly: query.Bool("suggested_only")}
	if err := query.Err(); err != nil {
		return nil, err
	}
	answer, err := roomapi.FederationHierarchy.Do(r.Context(), s.deps.Bus, req)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(answer.Body), nil
}
