package roomserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// stored is an event that has its place: the PDU with its numbers. It is
// immutable once its batch is staged; a redaction makes a new one.
type stored struct {
	nid    int64
	ord    int64
	depth  int64
	gen    int64
	flags  int64
	snap   int64 // state after the event
	cur    int64 // the room's state after the event was accepted
	origin string
	// replaces and redactedBy are event numbers; 0: none.
	replaces, redactedBy int64
	replacedTS           int64   // when the event that it replaces was sent, in milliseconds; 0: it is not told what that was
	prev, auth           []int64 // by number
	ev                   *pdu.Event
	client               *roomapi.Event
}

// pos is the event's position in the log; 0 for an event that is not live.
func (s *stored) pos() int64 {
	if s.nid > 0 || s.flags&storage.FlagPromoted != 0 {
		return s.ord >> storage.OrdShift
	}
	return 0
}

func (s *stored) hidden() bool { return s.flags&storage.HiddenFlags != 0 }

// size is about what the event takes in memory.
func (s *stored) size() int { return 2*len(s.ev.JSON) + 800 }

// events reads events of one room by number and returns them in that order.
func (s *Server) events(ctx context.Context, r *room, nids []int64) ([]*stored, error) {
	out := make([]*stored, len(nids))
	var missing []int64
	for i, nid := range nids {
		if e, ok := r.event(nid); ok {
			out[i] = e
		} else if e, ok := s.cache.Get(nid); ok {
			out[i] = e
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	rows, err := s.store.EventsByNid(ctx, missing)
	if err != nil {
		return nil, err
	}
	read, err := s.finish(ctx, r.version, rows)
	if err != nil {
		return nil, err
	}
	byNid := make(map[int64]*stored, len(read))
	for _, e := range read {
		byNid[e.nid] = e
	}
	for i, nid := range nids {
		if out[i] == nil {
			if out[i] = byNid[nid]; out[i] == nil {
				return nil, fmt.Errorf("event %d of room %s is not in the store", nid, r.id)
			}
		}
	}
	return out, nil
}

func (s *Server) event(ctx context.Context, r *room, nid int64) (*stored, error) {
	events, err := s.events(ctx, r, []int64{nid})
	if err != nil {
		return nil, err
	}
	return events[0], nil
}

// finish turns rows into events and caches them. What an event's unsigned part
// tells of other events (the state it replaced, its redaction) is read along.
func (s *Server) finish(ctx context.Context, v *pdu.RoomVersion, rows []*storage.Event) ([]*stored, error) {
	out := make([]*stored, len(rows))
	var related []int64
	for i, row := range rows {
		if e, ok := s.cache.Get(row.Nid); ok {
			out[i] = e
			continue
		}
		if row.Replaces != 0 {
			related = append(related, row.Replaces)
		}
		if row.RedactedBy != 0 {
			related = append(related, row.RedactedBy)
		}
	}
	relatives, err := s.relatives(ctx, v, related)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		if out[i] != nil {
			continue
		}
		ev, err := pdu.Load(v, row.JSON, storage.EventID(row.Key, v.URLSafeEventIDs))
		if err != nil {
			return nil, fmt.Errorf("load event %d: %w", row.Nid, err)
		}
		links, err := storage.UnpackLinks(row.Links)
		if err != nil {
			return nil, fmt.Errorf("load event %d: %w", row.Nid, err)
		}
		e := &stored{
			nid: row.Nid, ord: row.Ord, depth: row.Depth, gen: row.Gen, flags: row.Flags, snap: row.Snap, cur: row.Cur,
			origin: row.Origin, replaces: row.Replaces, redactedBy: row.RedactedBy, ev: ev,
			prev: links.Prev, auth: links.Auth,
		}
		e.client = clientEvent(e, relatives[row.Replaces], relatives[row.RedactedBy])
		s.cache.Put(e.nid, e)
		out[i] = e
	}
	return out, nil
}

// relatives loads events that others mention, without their own relatives.
func (s *Server) relatives(ctx context.Context, v *pdu.RoomVersion, nids []int64) (map[int64]*pdu.Event, error) {
	out := make(map[int64]*pdu.Event, len(nids))
	var missing []int64
	for _, nid := range nids {
		if e, ok := s.cache.Get(nid); ok {
			out[nid] = e.ev
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	rows, err := s.store.EventsByNid(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		ev, err := pdu.Load(v, row.JSON, storage.EventID(row.Key, v.URLSafeEventIDs))
		if err != nil {
			return nil, fmt.Errorf("load event %d: %w", row.Nid, err)
		}
		out[row.Nid] = ev
	}
	return out, nil
}

// clientEvent makes the form for clients. replaced and redaction may be nil.
func clientEvent(e *stored, replaced, redaction *pdu.Event) *roomapi.Event {
	ev := e.ev
	c := &roomapi.Event{
		EventID: ev.EventID, Type: ev.Type, Sender: ev.Sender, StateKey: ev.StateKey,
		OriginServerTS: ev.OriginServerTS, Ord: e.ord, JSON: clientJSON(ev),
	}
	c.Pos = e.pos()
	if ev.Type == memberType {
		c.Membership, _ = pdu.GetString(ev.Content, "membership")
	}
	c.DeviceID, c.TxnID, _ = strings.Cut(e.origin, "\n")
	if replaced != nil {
		e.replacedTS = replaced.OriginServerTS
		c.ReplacesState, c.PrevContent, c.PrevSender = replaced.EventID, replaced.Content, replaced.Sender
	}
	if redaction != nil {
		c.RedactedBecause = withRoomID(clientJSON(redaction), redaction.RoomID)
	}
	return c
}

// clientJSON writes the event in the format for clients ("Room event format"),
// without room_id and unsigned. A redaction names its target both at the top and
// in its content, as room version 11 asks for the sake of clients of either kind.
func clientJSON(ev *pdu.Event) []byte {
	dst := make([]byte, 0, len(ev.Content)+len(ev.Type)+len(ev.Sender)+len(ev.EventID)+140)
	dst = append(dst, `{"content":`...)
	if ev.Type == redactionType && ev.Redacts != "" && !ev.Version.RedactsInContent && !hasKey(ev.Content, "redacts") {
		dst = append(dst, `{"redacts":`...)
		dst = pdu.AppendString(dst, ev.Redacts)
		if len(ev.Content) > 2 {
			dst = append(dst, ',')
		}
		dst = append(dst, ev.Content[1:]...)
	} else {
		dst = append(dst, ev.Content...)
	}
	dst = append(dst, `,"event_id":`...)
	dst = pdu.AppendString(dst, ev.EventID)
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, ev.OriginServerTS, 10)
	if ev.Redacts != "" {
		dst = append(dst, `,"redacts":`...)
		dst = pdu.AppendString(dst, ev.Redacts)
	}
	dst = append(dst, `,"sender":`...)
	dst = pdu.AppendString(dst, ev.Sender)
	if ev.StateKey != nil {
		dst = append(dst, `,"state_key":`...)
		dst = pdu.AppendString(dst, *ev.StateKey)
	}
	dst = append(dst, `,"type":`...)
	dst = pdu.AppendString(dst, ev.Type)
	return append(dst, '}')
}

func withRoomID(json []byte, roomID string) []byte {
	json = append(json[:len(json)-1:len(json)-1], `,"room_id":`...)
	return append(pdu.AppendString(json, roomID), '}')
}

func hasKey(object []byte, key string) bool {
	_, ok := pdu.Get(object, key)
	return ok
}

// forgetMentions drops cached events whose unsigned part still shows what the
// redacted event was.
func (s *Server) forgetMentions(redacted *stored) {
	if !redacted.ev.IsState() && redacted.ev.Type != redactionType {
		return // no other event mentions it
	}
	s.cache.DeleteFunc(func(_ int64, e *stored) bool {
		return e.replaces == redacted.nid || e.redactedBy == redacted.nid
	})
}
