package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// maxSentBy bounds a page of what a user has sent.
const maxSentBy = 1000

// sentBy pages through what a user has sent in a room.
func (s *Server) sentBy(ctx context.Context, req *roomapi.SentByRequest) (*roomapi.SentByResponse, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	sender, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil || !ok {
		return &roomapi.SentByResponse{}, err
	}
	var types []int64
	for _, t := range req.Types {
		nid, ok, err := s.names.lookup(ctx, t)
		if err != nil {
			return nil, err
		}
		if ok {
			types = append(types, nid)
		}
	}
	if len(req.Types) > 0 && len(types) == 0 {
		return &roomapi.SentByResponse{}, nil
	}
	limit := clamp(req.Limit, 1, maxSentBy, 100)
	rows, err := s.store.SentBy(ctx, r.nid, sender, types, req.Before, limit+1)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.SentByResponse{More: len(rows) > limit}
	for _, row := range rows[:min(limit, len(rows))] {
		resp.Before = row.Ord
		resp.EventIDs = append(resp.EventIDs, storage.EventID(row.Key, r.version.URLSafeEventIDs))
	}
	return resp, nil
}

// countUser counts what a user has done since a time.
func (s *Server) countUser(ctx context.Context, req *roomapi.CountUserRequest) (*roomapi.UserCounts, error) {
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil || !ok {
		return &roomapi.UserCounts{}, err
	}
	member, ok, err := s.names.lookup(ctx, memberType)
	if err != nil || !ok {
		return &roomapi.UserCounts{}, err
	}
	counts := &roomapi.UserCounts{}
	joined := map[int64]bool{} // a room counts once
	err = s.store.MemberEvents(ctx, user, member, req.FromTS, func(room int64, own bool, json []byte) {
		content, _ := pdu.Get(json, "content")
		membership, _ := pdu.GetString(content, "membership")
		switch {
		case !own && membership == "invite":
			counts.Invites++
		case own && membership == "join":
			joined[room] = true
		}
	})
	counts.Joins = int64(len(joined))
	return counts, err
}

// maxLargest bounds the list of large rooms.
const maxLargest = 100

// largestRooms lists the rooms that take the most space.
func (s *Server) largestRooms(ctx context.Context, req *roomapi.LargestRoomsRequest) (*roomapi.LargestRoomsResponse, error) {
	sizes, err := s.store.LargestRooms(ctx, clamp(req.Limit, 1, maxLargest, 10))
	if err != nil {
		return nil, err
	}
	resp := &roomapi.LargestRoomsResponse{Rooms: []roomapi.RoomSize{}}
	for _, z := range sizes {
		resp.Rooms = append(resp.Rooms, roomapi.RoomSize{RoomID: z.ID, EstimatedSize: z.Bytes})
	}
	return resp, nil
}

// refusePurging is 404 for a room that is being deleted.
func (s *Server) refusePurging(id string) error {
	if s.closed.isPurging(id) {
		return merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	return nil
}
