package admin

import (
	"strconv"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// getRetention is GET /_hearth/admin/v1/retention.
func (s *Server) getRetention(r *matrixhttp.Request) (any, error) {
	return roomapi.GetRetention.Do(r.Context(), s.Bus, &roomapi.Empty{})
}

// putPolicy is PUT …/retention/policy: the whole policy.
func (s *Server) putPolicy(r *matrixhttp.Request) (any, error) {
	p, err := matrixhttp.Decode[roomapi.RetentionPolicy](r)
	if err != nil {
		return nil, err
	}
	return s.setRetention(r, "retention.policy", "server", &roomapi.SetRetentionRequest{Policy: p}, p)
}

// resetPolicy is DELETE …/retention/policy: that of the configuration counts again.
func (s *Server) resetPolicy(r *matrixhttp.Request) (any, error) {
	return s.setRetention(r, "retention.policy", "server", &roomapi.SetRetentionRequest{Configured: true}, nil)
}

// putRoomLifetime is PUT …/retention/rooms/{roomId}.
func (s *Server) putRoomLifetime(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		MaxLifetime *int64 `json:"max_lifetime"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.MaxLifetime == nil {
		return nil, merr.MissingParam("max_lifetime")
	}
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	room := &roomapi.RoomLifetime{RoomID: id, MaxLifetime: *req.MaxLifetime}
	return s.setRetention(r, "retention.room", id, &roomapi.SetRetentionRequest{Room: room}, room)
}

func (s *Server) setRetention(r *matrixhttp.Request, action, target string, req *roomapi.SetRetentionRequest, after any) (any, error) {
	before, err := roomapi.GetRetention.Do(r.Context(), s.Bus, &roomapi.Empty{})
	if err != nil {
		return nil, err
	}
	if err := s.record(r, action, target, "", before.Policy, after); err != nil {
		return nil, err
	}
	return roomapi.SetRetention.Do(r.Context(), s.Bus, req)
}

// runRetention is POST …/retention/run: it purges and overwrites now, or with dry_run tells what it would purge, by
// the policy in the body if there is one.
func (s *Server) runRetention(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		RoomID string                   `json:"room_id"`
		DryRun bool                     `json:"dry_run"`
		Policy *roomapi.RetentionPolicy `json:"policy"`
	}](r)
	if err != nil {
		return nil, err
	}
	if !req.DryRun {
		if err := s.record(r, "retention.run", req.RoomID, "", nil, nil); err != nil {
			return nil, err
		}
	}
	receipt, err := roomapi.RunRetention.Do(r.Context(), s.Bus, &roomapi.RunRetentionRequest{
		RoomID: req.RoomID, DryRun: req.DryRun, Policy: req.Policy, Actor: r.Identity.UserID,
	})
	if err != nil || req.DryRun || s.Overwrite == nil {
		return receipt, err
	}
	if err := s.Overwrite(r.Context()); err != nil {
		return nil, err
	}
	receipt.Overwritten = s.Now().UnixMilli()
	return receipt, nil
}

// placeHold is POST …/retention/holds.
func (s *Server) placeHold(r *matrixhttp.Request) (any, error) {
	h, err := matrixhttp.Decode[roomapi.Hold](r)
	if err != nil {
		return nil, err
	}
	h.ID, h.Actor = 0, r.Identity.UserID
	if err := s.record(r, "retention.hold", h.Target, h.Reason, nil, h); err != nil {
		return nil, err
	}
	return roomapi.PlaceHold.Do(r.Context(), s.Bus, h)
}

// liftHold is DELETE …/retention/holds/{holdId}.
func (s *Server) liftHold(r *matrixhttp.Request) (any, error) {
	id, err := number(r.Param("holdId"))
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "retention.lift", "hold "+strconv.FormatInt(id, 10), "", nil, nil); err != nil {
		return nil, err
	}
	return roomapi.LiftHold.Do(r.Context(), s.Bus, &roomapi.Hold{ID: id})
}

// purgeHistory is POST /v1/purge_history/{roomId}[/{eventId}].
func (s *Server) purgeHistory(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Local   bool   `json:"delete_local_events"`
		EventID string `json:"purge_up_to_event_id"`
		TS      *int64 `json:"purge_up_to_ts"`
	}](r)
	if err != nil {
		return nil, err
	}
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	purge := &roomapi.PurgeHistoryRequest{RoomID: room, EventID: r.Param("eventId"), Local: req.Local, Actor: r.Identity.UserID}
	if purge.EventID == "" {
		purge.EventID = req.EventID
	}
	if purge.EventID == "" && req.TS == nil {
		return nil, merr.BadJSON("purge_up_to_event_id or purge_up_to_ts must be given")
	}
	if purge.EventID == "" {
		purge.BeforeTS = *req.TS
	}
	if err := s.record(r, "room.purge_history", room, "", nil, purge); err != nil {
		return nil, err
	}
	return roomapi.PurgeHistory.Do(r.Context(), s.Bus, purge)
}

// purgeStatus is GET /v1/purge_history_status/{purgeId}.
func (s *Server) purgeStatus(r *matrixhttp.Request) (any, error) {
	return roomapi.PurgeStatus.Do(r.Context(), s.Bus, &roomapi.PurgeHistoryResponse{PurgeID: r.Param("purgeId")})
}
