package roomserver

import (
	"context"
	"errors"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/store"
	"hearth/roomserver/retention"
	"hearth/roomserver/roomapi"
)

// retentionActor is who the audit log names for what is purged by the timetable.
const retentionActor = "retention"

// dropMediaEvery is how often the files of events that are gone are deleted.
const dropMediaEvery = time.Minute

// runRetention purges and overwrites by the timetable, until ctx ends.
func (s *Server) runRetention(ctx context.Context) {
	var due <-chan time.Time
	if s.purgeEvery > 0 {
		ticker := time.NewTicker(s.purgeEvery)
		defer ticker.Stop()
		due = ticker.C
	}
	files := time.NewTicker(dropMediaEvery)
	defer files.Stop()
	overwritten := s.now()
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-s.purger.queue:
			job.end(s.purger, s.purgeNow(ctx, job.what))
			job.done()
			continue
		case <-files.C:
			if err := s.dropMedia(ctx); err != nil && ctx.Err() == nil {
				s.log.WithError(err).Warn("could not delete the files of events that are gone; they are tried again")
			}
			continue
		case <-due:
		}
		receipt, err := s.expireAll(ctx, &roomapi.RunRetentionRequest{})
		if err == nil && s.overwriteEvery > 0 && s.now().Sub(overwritten) >= s.overwriteEvery {
			overwritten = s.now()
			err = s.overwrite(ctx, receipt, retentionActor)
		}
		if err != nil && ctx.Err() == nil {
			s.log.WithError(err).Warn("could not purge what has expired; the next run tries again")
		}
	}
}

// expireAll purges one room, or all.
func (s *Server) expireAll(ctx context.Context, req *roomapi.RunRetentionRequest) (*roomapi.DeletionReceipt, error) {
	k := s.keeping.Load()
	receipt := &roomapi.DeletionReceipt{Policy: k.policy, DryRun: req.DryRun, Started: s.now().UnixMilli()}
	if req.DryRun && req.Policy != nil {
		receipt.Policy = *req.Policy
	}
	if err := s.purger.begin(ctx); err != nil {
		return nil, err
	}
	defer s.purger.end()
	if req.RoomID != "" {
		if err := s.expireInto(ctx, req.RoomID, receipt); err != nil {
			return nil, err
		}
		receipt.Purged = s.now().UnixMilli()
		return receipt, nil
	}
	stable, _, err := s.names.lookup(ctx, retention.Type)
	if err != nil {
		return nil, err
	}
	unstable, _, err := s.names.lookup(ctx, retention.UnstableType)
	if err != nil {
		return nil, err
	}
	emptyKey, _, err := s.names.lookup(ctx, "")
	if err != nil {
		return nil, err
	}
	all := retention.Everywhere(&receipt.Policy) || len(k.rooms) > 0
	for after := int64(0); ; {
		rooms, err := s.store.RoomsToPurge(ctx, after, all, stable, unstable, emptyKey, expireRooms)
		if err != nil {
			return nil, err
		}
		for _, room := range rooms {
			if err := s.expireInto(ctx, room.S, receipt); err != nil && !unknownRoom(err) {
				return nil, err
			}
			after = room.Nid
		}
		if len(rooms) < expireRooms {
			break
		}
	}
	if !req.DryRun {
		s.purger.whole = false
	}
	receipt.Purged = s.now().UnixMilli()
	return receipt, nil
}

// expireInto purges a room and adds it to a receipt.
func (s *Server) expireInto(ctx context.Context, roomID string, receipt *roomapi.DeletionReceipt) error {
	events, bytes, err := s.expireRoom(ctx, roomID, &receipt.Policy, receipt.DryRun)
	if events > 0 {
		receipt.Rooms++
		if len(receipt.RoomIDs) < maxNamedRooms {
			receipt.RoomIDs = append(receipt.RoomIDs, roomID)
		}
	}
	receipt.Events, receipt.Bytes = receipt.Events+events, receipt.Bytes+bytes
	return err
}

// overwrite makes sure that nothing of what was purged is left in the files, and writes the receipt to the audit
// log: for all that was purged since the last one, by this process or by one that was killed.
func (s *Server) overwrite(ctx context.Context, receipt *roomapi.DeletionReceipt, actor string) error {
	tally, err := s.store.Tally(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(s.store.DB.Overwrite(ctx), s.search.Overwrite(ctx)); err != nil {
		return err
	}
	receipt.Overwritten = s.now().UnixMilli()
	if tally.Events == 0 {
		return nil
	}
	whole := *receipt
	whole.Rooms, whole.Events, whole.Bytes, whole.Started = len(tally.Rooms), tally.Events, tally.Bytes, min(tally.Since, receipt.Started)
	refs, err := s.store.RoomIDs(ctx, tally.Rooms[:min(len(tally.Rooms), maxNamedRooms)])
	if err != nil {
		return err
	}
	whole.RoomIDs = nil
	for _, nid := range tally.Rooms[:min(len(tally.Rooms), maxNamedRooms)] {
		if ref, ok := refs[nid]; ok {
			whole.RoomIDs = append(whole.RoomIDs, ref.ID)
		}
	}
	_, err = userapi.RecordAction.Do(ctx, s.bus, &userapi.AuditEntry{Actor: actor, Action: "retention.deleted", Target: "rooms", After: whole.Raw()})
	if err != nil {
		return err
	}
	return s.store.DB.Write(ctx, func(tx *store.Tx) error { return tally.Settle(tx) })
}
