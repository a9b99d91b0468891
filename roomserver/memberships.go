package roomserver

import (
	"context"
	"slices"

	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const maxMemberships = 1000

// memberships lists the rooms of a user.
func (s *Server) memberships(ctx context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return &roomapi.MembershipsResponse{Pos: s.store.DB.Head()}, nil
	}
	limit := clamp(req.Limit, 1, maxMemberships, maxMemberships)
	resp := &roomapi.MembershipsResponse{}
	after := req.After
	for len(resp.Rooms) < limit {
		rows, pos, err := s.store.UserRooms(ctx, user, after, limit)
		if err != nil {
			return nil, err
		}
		if resp.Pos == 0 {
			resp.Pos = pos
		}
		for i, row := range rows {
			if len(resp.Rooms) == limit {
				resp.More = true
				return resp, nil
			}
			after = row.RoomID
			if row.Forgotten && len(req.Memberships) == 0 {
				continue
			}
			m, err := s.membershipOf(ctx, &rows[i])
			if err != nil {
				return nil, err
			}
			if len(req.Memberships) == 0 || slices.Contains(req.Memberships, m.Membership) {
				resp.Rooms = append(resp.Rooms, *m)
			}
		}
		if len(rows) < limit {
			return resp, nil
		}
	}
	resp.More = true
	return resp, nil
}

func (s *Server) membershipOf(ctx context.Context, row *storage.UserRoom) (*roomapi.Membership, error) {
	sender, err := s.names.text(ctx, row.Sender)
	if err != nil {
		return nil, err
	}
	m := &roomapi.Membership{
		RoomID: row.RoomID, Membership: storage.MembershipName(row.Membership), Sender: sender,
		EventID: row.EventID, Pos: max(row.Nid, row.Pos), Forgotten: row.Forgotten,
		LastEvent: max(row.LastOrd, 0) >> storage.OrdShift, LastReceipt: row.LastReceipt,
	}
	if row.EventID == "" {
		m.EventID = storage.EventID(row.EventKey, row.Version != "3")
	}
	return m, nil
}
