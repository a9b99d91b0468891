package admin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"hearth/federationapi/remoteapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// describeDestination gives such numbers that the last try and the interval together are the next try.
func describeDestination(d *remoteapi.Destination) map[string]any {
	var last, interval int64
	if d.RetryAt > 0 {
		last, interval = d.FailingFrom, max(0, d.RetryAt-d.FailingFrom)
	}
	return map[string]any{
		"destination": d.Name, "retry_last_ts": last, "retry_interval": interval,
		"failure_ts": orNull(d.FailingFrom), "last_successful_stream_ordering": orNull(d.LastSuccess),
	}
}

// destinations reads what is known of all servers that we send to.
func (s *Server) destinations(r *matrixhttp.Request) (list []remoteapi.Destination, err error) {
	for after := ""; ; {
		page, err := remoteapi.Destinations.Do(r.Context(), s.Bus, &remoteapi.DestinationsRequest{After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		if list = append(list, page.Destinations...); !page.More || len(page.Destinations) == 0 {
			return list, nil
		}
		after = list[len(list)-1].Name
	}
}

// destinationOrders are Synapse's words.
var destinationOrders = map[string]func(a, b remoteapi.Destination) int{
	"destination":   func(a, b remoteapi.Destination) int { return cmp.Compare(a.Name, b.Name) },
	"retry_last_ts": func(a, b remoteapi.Destination) int { return cmp.Compare(a.FailingFrom, b.FailingFrom) },
	"retry_interval": func(a, b remoteapi.Destination) int {
		return cmp.Compare(a.RetryAt-a.FailingFrom, b.RetryAt-b.FailingFrom)
	},
	"failure_ts": func(a, b remoteapi.Destination) int { return cmp.Compare(a.FailingFrom, b.FailingFrom) },
	"last_successful_stream_ordering": func(a, b remoteapi.Destination) int {
		return cmp.Compare(a.LastSuccess, b.LastSuccess)
	},
}

// listDestinations is GET /v1/federation/destinations.
func (s *Server) listDestinations(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	from, limit := page(q, 100)
	order, part := q.String("order_by"), q.String("destination")
	backwards := q.Enum("dir", "f", "f", "b") == "b"
	if err := q.Err(); err != nil {
		return nil, err
	}
	compare := destinationOrders[cmp.Or(order, "destination")]
	if compare == nil {
		return nil, merr.InvalidParam("Unknown value for order_by")
	}
	all, err := s.destinations(r)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d remoteapi.Destination) bool { return !strings.Contains(d.Name, strings.ToLower(part)) })
	slices.SortStableFunc(all, compare)
	if backwards {
		slices.Reverse(all)
	}
	list := []map[string]any{}
	for i := from; i < min(from+limit, len(all)); i++ {
		list = append(list, describeDestination(&all[i]))
	}
	out := map[string]any{"destinations": list, "total": len(all)}
	if next := from + len(list); next < len(all) && len(list) > 0 {
		out["next_token"] = next
	}
	return out, nil
}

// destination finds the server that the path names, 404 M_NOT_FOUND if we never sent to it.
func (s *Server) destination(r *matrixhttp.Request) (*remoteapi.Destination, error) {
	all, err := s.destinations(r)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == r.Param("destination") {
			return &all[i], nil
		}
	}
	return nil, merr.NotFound("Unknown destination")
}

// getDestination is GET /v1/federation/destinations/{destination}.
func (s *Server) getDestination(r *matrixhttp.Request) (any, error) {
	d, err := s.destination(r)
	if err != nil {
		return nil, err
	}
	return describeDestination(d), nil
}

// destinationRooms is GET /v1/federation/destinations/{destination}/rooms.
func (s *Server) destinationRooms(r *matrixhttp.Request) (any, error) {
	d, err := s.destination(r)
	if err != nil {
		return nil, err
	}
	q := r.Query()
	from, limit := page(q, 100)
	req := &roomapi.ServerRoomsRequest{Server: d.Name, From: from, Limit: min(limit, 1000), Backwards: q.Enum("dir", "f", "f", "b") == "b"}
	if err := q.Err(); err != nil {
		return nil, err
	}
	found, err := roomapi.ServerRooms.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	rooms := make([]map[string]any, len(found.RoomIDs))
	for i, id := range found.RoomIDs {
		rooms[i] = map[string]any{"room_id": id, "stream_ordering": found.LastEvents[i]}
	}
	out := map[string]any{"rooms": rooms, "total": found.Total}
	if next := from + len(rooms); int64(next) < found.Total && len(rooms) > 0 {
		out["next_token"] = next
	}
	return out, nil
}

// resetDestination is POST /v1/federation/destinations/{destination}/reset_connection.
func (s *Server) resetDestination(r *matrixhttp.Request) (any, error) {
	d, err := s.destination(r)
	if err != nil {
		return nil, err
	}
	if d.RetryAt == 0 && d.Failures == 0 {
		return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "The retry timing does not need to be reset for this destination.")
	}
	if err := s.record(r, "federation.reset", d.Name, "", nil, nil); err != nil {
		return nil, err
	}
	_, err = remoteapi.Retry.Do(r.Context(), s.Bus, &remoteapi.DestinationRequest{Name: d.Name})
	if errors.Is(err, merr.NotFound("")) {
		err = nil // it has been reached meanwhile
	}
	return nil, err
}
