package outbound

import (
	"context"
	"slices"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	usualPage = 100
	maxPage   = 500
)

// Destinations is the handler of [remoteapi.Destinations].
func (q *Queues) Destinations(ctx context.Context, req *remoteapi.DestinationsRequest) (*remoteapi.DestinationsResponse, error) {
	limit := req.Limit
	if limit <= 0 {
		limit = usualPage
	}
	limit = min(limit, maxPage)
	names := q.o.Ask.Health.Known()
	q.mu.Lock()
	for name := range q.servers {
		names = append(names, name)
	}
	q.mu.Unlock()
	slices.Sort(names)
	names = slices.Compact(names)
	from, found := slices.BinarySearch(names, req.After)
	if found {
		from++
	}
	names = names[from:]
	resp := &remoteapi.DestinationsResponse{More: len(names) > limit}
	for _, name := range names[:min(limit, len(names))] {
		d, err := q.destination(ctx, name)
		if err != nil {
			return nil, err
		}
		resp.Destinations = append(resp.Destinations, d)
	}
	return resp, nil
}

// destination says what is known of one server.
func (q *Queues) destination(ctx context.Context, name string) (remoteapi.Destination, error) {
	h := q.o.Ask.Health.State(name)
	d := remoteapi.Destination{
		Name: name, Failures: h.Failures, RetryAt: millis(h.RetryAt), FailingFrom: millis(h.FailingFrom), LastSuccess: millis(h.LastSuccess),
	}
	q.mu.Lock()
	s := q.servers[name]
	isBehind := false
	var since int64
	if s != nil {
		d.QueuedEDUs = s.edus
		isBehind, since = s.state == behind || s.state == catching, s.behind
	}
	q.mu.Unlock()
	if !isBehind {
		return d, nil
	}
	// One page: for more than 1,000 rooms the number is a lower bound.
	rooms, err := roomapi.HostOf.Do(ctx, q.o.Bus, &roomapi.HostOfRequest{Server: name})
	if err != nil {
		return d, err
	}
	for _, r := range rooms.Rooms {
		if r.Pos > since {
			d.RoomsBehind++
		}
	}
	return d, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Retry is the handler of [remoteapi.Retry].
func (q *Queues) Retry(_ context.Context, req *remoteapi.DestinationRequest) (*remoteapi.Empty, error) {
	if _, _, err := pdu.ParseServerName(req.Name); err != nil {
		return nil, err
	}
	q.o.Ask.Health.Retry(req.Name)
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.servers[req.Name]; s != nil {
		q.wake(s)
	}
	return &remoteapi.Empty{}, nil
}
