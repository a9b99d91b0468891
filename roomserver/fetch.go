package roomserver

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// Bounds of what is fetched for one event.
const (
	missingLimit   = 20
	maxAuthFetched = 20_000
	maxStateIDs    = 200_000
	maxStateEvents = 100_000
	manyUnknown    = 300 // from so many on the whole state is asked for instead of single events
	fetchTimeout   = 60 * time.Second
	otherServers   = 2 // that are asked if the origin does not help
)

// servers are those to ask about an event: its origin first.
func (d *drainage) servers(ctx context.Context, w *waitingEvent) []string {
	servers := []string{w.origin}
	_, h, done, err := d.s.view(ctx, d.roomID)
	if err != nil {
		return servers
	}
	defer done()
	others := slices.Clone(h.hosts.list())
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, name := range append([]string{pdu.Domain(w.ev.Sender)}, others...) {
		if len(servers) > otherServers {
			break
		}
		if name != d.s.serverName && !slices.Contains(servers, name) {
			servers = append(servers, name)
		}
	}
	return servers
}

// fetchMissing asks for the events between what we have and an event.
func (d *drainage) fetchMissing(ctx context.Context, w *waitingEvent) error {
	w.rounds++
	r, h, done, err := d.s.view(ctx, d.roomID)
	if err != nil {
		return err
	}
	defer done()
	if d.minDepth, err = d.s.minDepth(ctx, r, h); err != nil {
		return err
	}
	earliest := make([]string, 0, len(h.extremities))
	for _, x := range h.extremities {
		earliest = append(earliest, x.id)
	}
	for _, server := range d.servers(ctx, w) {
		resp, err := remoteapi.MissingEvents.Do(ctx, d.s.bus, &remoteapi.MissingRequest{
			Destination: server, RoomID: d.roomID, RoomVersion: d.version.ID, Earliest: earliest, Latest: []string{w.ev.EventID}, Limit: missingLimit,
			MinDepth: d.minDepth,
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && d.takeMissing(w, resp.Events) {
			return nil
		}
	}
	w.rounds = maxMissingRounds // nothing more of this kind
	if n := len(h.gaps); n > 0 && !d.backfilled {
		// It may follow what was before we came, or before the last gap.
		d.backfilled = true
		d.s.backfill(ctx, d.roomID, h.gaps[n-1])
	}
	return nil
}

// minDepth is the depth of the oldest event after the last gap: what is below is history,
// which must not enter the timeline as news.
func (s *Server) minDepth(ctx context.Context, r *room, h *head) (int64, error) {
	if len(h.gaps) == 0 {
		return 0, nil
	}
	rows, err := s.store.Forwards(ctx, r.nid, h.gaps[len(h.gaps)-1].Ord, maxOrd, 1)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].Depth, nil
}

// takeMissing lets events wait with the others; false if none of them is a prev event that
// was asked for.
func (d *drainage) takeMissing(w *waitingEvent, list []pduwire.PDU) (helped bool) {
	for i := range list[:min(len(list), 2*missingLimit)] {
		ev, err := list[i].Load(d.version)
		if err != nil || ev.RoomID != d.roomID || d.waiting[ev.EventID] != nil || ev.Depth < d.minDepth {
			continue
		}
		d.waiting[ev.EventID] = &waitingEvent{ev: ev, origin: w.origin, rounds: w.rounds}
		helped = helped || slices.Contains(w.verdict.prev, ev.EventID)
	}
	return helped
}

// fetchAuth asks for the auth events of an event.
func (d *drainage) fetchAuth(ctx context.Context, w *waitingEvent) error {
	if w.authDone {
		return errUseless
	}
	w.authDone = true
	for _, server := range d.servers(ctx, w) {
		var list []*pdu.Event
		full := false
		err := remoteapi.ReadEventAuth(ctx, d.s.bus, &remoteapi.EventAuthRequest{
			Destination: server, RoomID: d.roomID, RoomVersion: d.version.ID, EventID: w.ev.EventID,
		}, func(p pduwire.PDU) error { return d.collect(&list, &full, &p) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || full {
			continue
		}
		known, err := d.storeOutliers(ctx, list)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(w.verdict.auth, func(id string) bool { return known[id] == nil }) {
			return nil
		}
		if ok, err := d.fetchEvents(ctx, server, w.verdict.auth); err != nil || ok {
			return err
		}
	}
	return errUseless
}

// collect adds an event of the room to a list that has a bound.
func (d *drainage) collect(list *[]*pdu.Event, full *bool, p *pduwire.PDU) error {
	ev, err := p.Load(d.version)
	if err != nil || ev.RoomID != d.roomID {
		return nil
	}
	if len(*list) >= maxAuthFetched {
		*full = true
		return errUseless
	}
	*list = append(*list, ev)
	return nil
}

// storeOutliers stores what another server gave and returns what we have of it now.
func (d *drainage) storeOutliers(ctx context.Context, list []*pdu.Event) (map[string]*stored, error) {
	lr, err := d.s.lockRoom(ctx, d.roomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	return d.s.storeOutliers(ctx, lr, list)
}

// maxAuthDepth is how often the auth events of fetched events are fetched in turn.
const maxAuthDepth = 10

// fetchEvents fetches single events with their auth events; ok says that we have all of
// those asked for now.
func (d *drainage) fetchEvents(ctx context.Context, server string, ids []string) (ok bool, err error) {
	var list []*pdu.Event
	have := make(map[string]bool)
	wanted := ids
	for depth := 0; len(wanted) > 0 && depth < maxAuthDepth; depth++ {
		full := false
		from := len(list)
		err := remoteapi.ReadEvents(ctx, d.s.bus, &remoteapi.EventsRequest{
			Destination: server, RoomID: d.roomID, RoomVersion: d.version.ID, EventIDs: wanted,
		}, func(p pduwire.PDU) error { return d.collect(&list, &full, &p) })
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil || full {
			break
		}
		var next []string
		for _, ev := range list[from:] {
			have[ev.EventID] = true
		}
		for _, ev := range list[from:] {
			for _, id := range ev.AuthEvents {
				if !have[id] {
					have[id] = true
					next = append(next, id)
				}
			}
		}
		if wanted, err = d.unknown(ctx, next); err != nil {
			return false, err
		}
	}
	if _, err := d.storeOutliers(ctx, list); err != nil {
		return false, err
	}
	left, err := d.unknown(ctx, ids)
	return len(left) == 0, err
}

// unknown are the ids of events that we do not have.
func (d *drainage) unknown(ctx context.Context, ids []string) ([]string, error) {
	r, _, done, err := d.s.view(ctx, d.roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	var missing []string
	for part := range slices.Chunk(ids, stateChunk) {
		known, err := d.s.eventsByID(ctx, r, part)
		if err != nil {
			return nil, err
		}
		for _, id := range part {
			if known[id] == nil {
				missing = append(missing, id)
			}
		}
	}
	return missing, nil
}

// fetchState asks for the state before an event whose prev events cannot be had.
func (d *drainage) fetchState(ctx context.Context, w *waitingEvent) error {
	for _, server := range d.servers(ctx, w) {
		req := &remoteapi.StateIDsRequest{Destination: server, RoomID: d.roomID, RoomVersion: d.version.ID, EventID: w.ev.EventID}
		ids, err := remoteapi.StateIDs.Do(ctx, d.s.bus, req)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || len(ids.State) == 0 || len(ids.State)+len(ids.AuthChain) > maxStateIDs {
			continue
		}
		if err := d.fetchStateEvents(ctx, req, ids); err != nil {
			if isRemote(err) && ctx.Err() == nil {
				continue
			}
			return err
		}
		snap, err := d.givenState(ctx, ids.State)
		if err != nil {
			return err
		}
		if snap == nil {
			continue
		}
		w.given = &incoming{ev: w.ev, state: snap}
		missing, err := d.unknown(ctx, w.ev.AuthEvents)
		if err == nil && len(missing) > 0 {
			w.verdict = verdict{auth: missing}
			err = d.fetchAuth(ctx, w)
		}
		return err
	}
	return errUseless
}

// fetchStateEvents makes sure that we have the events of a state and its auth chain, as
// far as the server gives them.
func (d *drainage) fetchStateEvents(ctx context.Context, req *remoteapi.StateIDsRequest, ids *remoteapi.StateIDsResponse) error {
	missing, err := d.unknown(ctx, slices.Concat(ids.AuthChain, ids.State))
	if err != nil || len(missing) == 0 {
		return err
	}
	var list []*pdu.Event
	if len(missing) < manyUnknown {
		_, err := d.fetchEvents(ctx, req.Destination, missing)
		return err
	}
	err = remoteapi.ReadState(ctx, d.s.bus, req, func(_ byte, p pduwire.PDU) error {
		ev, err := p.Load(d.version)
		if err != nil || ev.RoomID != d.roomID {
			return nil
		}
		if len(list) >= maxStateEvents {
			return errUseless
		}
		list = append(list, ev)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = d.storeOutliers(ctx, list)
	return err
}

// givenState makes the snapshot of a state that another server has told: what of it we have
// and was not rejected. It is nil if the create event is not ours.
func (d *drainage) givenState(ctx context.Context, ids []string) (*state.Snapshot, error) {
	r, h, done, err := d.s.view(ctx, d.roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	create, err := d.s.committedState(ctx, r, h, "m.room.create", "")
	if err != nil {
		return nil, err
	}
	var entries []state.Entry
	ours := false
	for part := range slices.Chunk(ids, stateChunk) {
		known, err := d.s.eventsByID(ctx, r, part)
		if err != nil {
			return nil, err
		}
		for _, e := range known {
			if e.ev.StateKey == nil || e.flags&storage.FlagRejected != 0 {
				continue
			}
			key, ok, err := d.s.stateKey(ctx, e.ev.Type, *e.ev.StateKey)
			if err != nil {
				return nil, err
			}
			if ok {
				entries = append(entries, state.Entry{Key: key, Event: e.nid})
				ours = ours || create != nil && e.nid == create.nid
			}
		}
	}
	if !ours {
		return nil, nil
	}
	return state.Root(d.s.snapSeq.Add(1), entries), nil
}
