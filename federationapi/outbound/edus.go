package outbound

import (
	"context"
	"slices"
	"strings"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	maxEDU    = 256 << 10 // bytes
	maxKeyLen = 255
)

// QueueEDU is the handler of [remoteapi.QueueEDU].
func (q *Queues) QueueEDU(ctx context.Context, req *remoteapi.EDURequest) (*remoteapi.Empty, error) {
	if req.Type == "" || len(req.Type) > pdu.MaxIDLength || len(req.Key) > maxKeyLen || pdu.Kind(req.Content) != '{' {
		return nil, merr.InvalidParam("An EDU needs a type and a content")
	}
	edu, err := newEDU(req.Type, req.Content)
	if err != nil {
		return nil, err
	}
	if len(edu) > maxEDU {
		return nil, merr.TooLarge("The EDU is too large")
	}
	servers := q.wanted(req.Destinations)
	if len(servers) == 0 {
		return &remoteapi.Empty{}, nil
	}
	if err := q.o.DB.AddEDU(ctx, servers, edu, req.Type, req.Key); err != nil {
		return nil, err
	}
	var full []string
	q.mu.Lock()
	for _, name := range servers {
		s := q.server(name)
		if s.edus++; s.edus > q.o.Tune.EDUs {
			full = append(full, name)
		}
		q.wake(s)
	}
	q.mu.Unlock()
	for _, name := range full {
		q.trim(ctx, name)
	}
	return &remoteapi.Empty{}, nil
}

// wanted are the servers to which we send, each once.
func (q *Queues) wanted(names []string) []string {
	var out []string
	for _, name := range names {
		if _, _, err := pdu.ParseServerName(name); err == nil && name != q.o.ServerName && q.o.Ask.Servers.Allows(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// trim forgets the oldest EDUs of a server that has been away for too long.
func (q *Queues) trim(ctx context.Context, name string) {
	// A tenth more than is needed, so that not every EDU has to count them.
	left, err := q.o.DB.TrimEDUs(ctx, name, q.o.Tune.EDUs-q.o.Tune.EDUs/10)
	if err != nil {
		q.o.Log.WithError(err).WithField("server", name).Warn("old EDUs cannot be forgotten")
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.servers[name]; s != nil {
		s.edus = left
	}
	q.o.Log.WithField("server", name).Warn("too many EDUs wait for a server; the oldest are forgotten")
}

// subscribe takes what may be lost.
func (q *Queues) subscribe(ctx context.Context) (stop func(), err error) {
	stopTyping, err := bus.Subscribe(q.o.Bus, roomapi.TypingTopic, func(t *roomapi.Typing) { q.tellTyping(ctx, t) })
	if err != nil {
		return nil, err
	}
	stopPresence, err := bus.Subscribe(q.o.Bus, remoteapi.PresenceTopic, q.tellPresence)
	if err != nil {
		stopTyping()
		return nil, err
	}
	return func() { stopTyping(); stopPresence() }, nil
}

// lose adds EDUs for servers that are there; for others they are lost.
func (q *Queues) lose(servers []string, add func(f *fleeting)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range servers {
		if name == q.o.ServerName || !q.o.Ask.Servers.Allows(name) || q.o.Ask.Health.State(name).Failures > 0 {
			continue
		}
		s := q.server(name)
		if s.state != behind {
			add(&s.fleeting)
		}
		q.wake(s)
		q.forget(s)
	}
}

// receipt tells the servers of a room that somebody has read.
func (q *Queues) receipt(ctx context.Context, roomID string, r *roomapi.Receipt) {
	if r.Kind != "m.read" || pdu.Domain(r.UserID) != q.o.ServerName {
		return
	}
	servers, err := q.hosts.of(ctx, roomID)
	if err != nil {
		return // receipts may be lost
	}
	q.lose(servers, func(f *fleeting) { f.receipt(roomID, r) })
}

// tellPresence tells servers of the presence of users.
func (q *Queues) tellPresence(req *remoteapi.EDURequest) {
	if pdu.Kind(req.Content) != '{' || req.Type == "" {
		return
	}
	edu, err := newEDU(req.Type, req.Content)
	if err != nil || len(edu) > maxEDU {
		return
	}
	key := req.Key
	if key != "" {
		key = strings.Join([]string{req.Type, req.Key}, "\x00")
	}
	q.lose(q.wanted(req.Destinations), func(f *fleeting) { f.add(fleetingEDU{key, edu}) })
}

// tellTyping tells the servers of a room which users of ours have begun or ceased to type.
func (q *Queues) tellTyping(ctx context.Context, t *roomapi.Typing) {
	began, ceased := q.typing.change(t)
	if len(began)+len(ceased) == 0 {
		return
	}
	servers, err := q.hosts.of(ctx, t.RoomID)
	if err != nil || len(servers) == 0 {
		return
	}
	for i, users := range [][]string{began, ceased} {
		for _, user := range users {
			edu, err := newEDU("m.typing", map[string]any{"room_id": t.RoomID, "user_id": user, "typing": i == 0})
			if err != nil {
				continue
			}
			key := strings.Join([]string{"m.typing", t.RoomID, user}, "\x00")
			q.lose(servers, func(f *fleeting) { f.add(fleetingEDU{key, edu}) })
		}
	}
}
