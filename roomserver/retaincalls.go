package roomserver

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/roomserver/retention"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// handleRetention registers the calls of this file.
func (s *Server) handleRetention() error {
	b := s.bus
	return errors.Join(
		bus.Handle(b, roomapi.GetRetention, s.getRetention),
		bus.Handle(b, roomapi.SetRetention, s.setRetention),
		bus.Handle(b, roomapi.RunRetention, s.runNow),
		bus.Handle(b, roomapi.PurgeHistory, s.purgeHistory),
		bus.Handle(b, roomapi.PurgeStatus, s.purgeStatus),
		bus.Handle(b, roomapi.PlaceHold, s.placeHold),
		bus.Handle(b, roomapi.LiftHold, s.liftHold),
	)
}

func (s *Server) getRetention(context.Context, *roomapi.Empty) (*roomapi.Retention, error) {
	k := s.keeping.Load()
	out := &roomapi.Retention{Policy: k.policy, Changed: k.changed, Rooms: []roomapi.RoomLifetime{}, Holds: append([]roomapi.Hold{}, k.holds...)}
	for id, ms := range k.rooms {
		out.Rooms = append(out.Rooms, roomapi.RoomLifetime{RoomID: id, MaxLifetime: ms})
	}
	slices.SortFunc(out.Rooms, func(a, b roomapi.RoomLifetime) int { return cmp.Compare(a.RoomID, b.RoomID) })
	return out, nil
}

// maxRoomLifetimes and maxHolds bound what is kept in memory.
const (
	maxRoomLifetimes = 10_000
	maxHolds         = 1000
)

func (s *Server) setRetention(ctx context.Context, req *roomapi.SetRetentionRequest) (*roomapi.Retention, error) {
	k := s.keeping.Load()
	if req.Policy != nil {
		if err := retention.CheckSet(req.Policy); err != nil {
			return nil, err
		}
	}
	if r := req.Room; r != nil {
		if r.MaxLifetime < 0 || r.MaxLifetime > 0 && r.MaxLifetime < retention.Shortest || r.MaxLifetime > retention.MaxLifetime {
			return nil, merr.InvalidParam("max_lifetime must be a number of milliseconds, at least %d, or 0", retention.Shortest)
		}
		if _, known := k.rooms[r.RoomID]; !known && len(k.rooms) >= maxRoomLifetimes {
			return nil, merr.New(400, "M_LIMIT_EXCEEDED", "Too many rooms have a lifetime of their own")
		}
	}
	err := s.changeKeeping(ctx, func(tx *store.Tx) error {
		if req.Policy != nil || req.Configured {
			if err := storage.SetPolicy(tx, req.Policy); err != nil {
				return err
			}
		}
		if req.Room != nil {
			return storage.SetRoomLifetime(tx, req.Room.RoomID, req.Room.MaxLifetime)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.getRetention(ctx, nil)
}

// changeKeeping writes a change, goes by it from then on, and tells that what is remembered may have expired.
func (s *Server) changeKeeping(ctx context.Context, change func(tx *store.Tx) error) error {
	if err := s.purger.begin(ctx); err != nil { // no purge by what is no longer true
		return err
	}
	defer s.purger.end()
	if err := s.store.DB.Write(ctx, change); err != nil {
		return err
	}
	if err := s.loadKeeping(ctx); err != nil {
		return err
	}
	return s.tellRetention(ctx, "", 0)
}

// runNow purges and overwrites.
func (s *Server) runNow(ctx context.Context, req *roomapi.RunRetentionRequest) (*roomapi.DeletionReceipt, error) {
	if req.Policy != nil {
		if !req.DryRun {
			return nil, merr.InvalidParam("Only a dry run takes a policy; set it first")
		}
		if err := retention.Check(req.Policy); err != nil {
			return nil, err
		}
	}
	receipt, err := s.expireAll(ctx, req)
	if err != nil || req.DryRun {
		return receipt, err
	}
	if err := s.dropMedia(ctx); err != nil {
		return nil, err
	}
	return receipt, s.overwrite(ctx, receipt, orElse(req.Actor, retentionActor))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (s *Server) placeHold(ctx context.Context, req *roomapi.Hold) (*roomapi.Hold, error) {
	switch req.Kind {
	case roomapi.HoldRoom, roomapi.HoldUser, roomapi.HoldEvent:
	default:
		return nil, merr.InvalidParam("kind must be room, user or event")
	}
	now := s.now().UnixMilli()
	switch {
	case req.Target == "" || len(req.Target) > 255 || !storable(req.Target):
		return nil, merr.InvalidParam("target must be an id")
	case req.Reason == "" || len(req.Reason) > 4096 || !storable(req.Reason):
		return nil, merr.InvalidParam("A hold needs a reason of at most 4096 bytes")
	case req.Until != 0 && req.Until <= now:
		return nil, merr.InvalidParam("until is in the past")
	case len(s.keeping.Load().holds) >= maxHolds:
		return nil, merr.New(400, "M_LIMIT_EXCEEDED", "There are too many holds")
	}
	h := *req
	h.At = now
	err := s.changeKeeping(ctx, func(tx *store.Tx) error { return storage.PlaceHold(tx, &h) })
	return &h, err
}

func (s *Server) liftHold(ctx context.Context, req *roomapi.Hold) (*roomapi.Hold, error) {
	holds := s.keeping.Load().holds
	i := slices.IndexFunc(holds, func(h roomapi.Hold) bool { return h.ID == req.ID })
	if i < 0 {
		return nil, merr.NotFound("There is no hold with this id")
	}
	h := holds[i]
	return &h, s.changeKeeping(ctx, func(tx *store.Tx) error { return storage.LiftHold(tx, h.ID) })
}

// purgeJob is a purge of a room's history. status is guarded by purger.mu, the rest never changes.
type purgeJob struct {
	id     string
	what   *expiring
	done   func()
	status roomapi.PurgeStatusResponse
}

// maxPurgeJobs is how many purges are remembered.
const maxPurgeJobs = 100

// purgeHistory begins a purge: 404 if the room or the event is not known, 503 if too many go on.
func (s *Server) purgeHistory(ctx context.Context, req *roomapi.PurgeHistoryRequest) (*roomapi.PurgeHistoryResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	queued := false
	defer func() {
		if !queued {
			done()
		}
	}()
	e := &expiring{s: s, room: r, all: true, foreign: !req.Local, upto: math.MaxInt64, high: math.MaxInt64}
	e.x = &expiry{s: s, room: r, head: h, now: s.now().UnixMilli(), cut: math.MaxInt64}
	if req.EventID != "" {
		until, err := s.eventByID(ctx, r, req.EventID)
		if err != nil {
			return nil, notFoundAs(err, merr.NotFound("Unknown event"))
		}
		if until.ord == storage.OutlierOrd {
			return nil, merr.New(400, "M_UNKNOWN", "The event has no place in the timeline")
		}
		e.high = until.ord - 1
	} else {
		e.upto = req.BeforeTS - 1
	}
	job, err := s.purger.add(e, done)
	if err != nil {
		return nil, err
	}
	queued = true
	return &roomapi.PurgeHistoryResponse{PurgeID: job.id}, nil
}

// purgeNow purges what was chosen by hand.
func (s *Server) purgeNow(ctx context.Context, e *expiring) error {
	if err := s.purger.begin(ctx); err != nil {
		return err
	}
	defer s.purger.end()
	return e.run(ctx)
}

// add queues a purge; done is called after it.
func (p *purger) add(e *expiring, done func()) (*purgeJob, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) >= maxPurgeJobs {
		i := slices.IndexFunc(p.jobs, func(j *purgeJob) bool { return j.status.Status != "active" })
		if i < 0 {
			return nil, merr.Busy(0)
		}
		p.jobs = slices.Delete(p.jobs, i, i+1)
	}
	p.last++
	j := &purgeJob{id: strconv.FormatInt(p.last, 10), what: e, done: done, status: roomapi.PurgeStatusResponse{Status: "active"}}
	p.jobs = append(p.jobs, j)
	p.queue <- j // as many fit as are remembered
	return j, nil
}

func (j *purgeJob) end(p *purger, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j.status.Status = "complete"; err != nil {
		j.status.Status, j.status.Error = "failed", err.Error()
	}
}

func (s *Server) purgeStatus(_ context.Context, req *roomapi.PurgeHistoryResponse) (*roomapi.PurgeStatusResponse, error) {
	s.purger.mu.Lock()
	defer s.purger.mu.Unlock()
	for _, j := range s.purger.jobs {
		if j.id == req.PurgeID {
			status := j.status
			return &status, nil
		}
	}
	return nil, merr.NotFound("There is no purge with this id")
}
