package roomserver

import (
	"context"
	"slices"

	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// streamPeers tells with whom a user shares encrypted rooms.
func (s *Server) streamPeers(ctx context.Context, req *roomapi.PeersRequest, send func([]byte) error) error {
	head := s.store.DB.Head()
	q := &storage.PeerQuery{From: req.From, To: req.To, Changes: req.Changes}
	if q.To == 0 || q.To > head {
		q.To = head
	}
	for name, nid := range map[string]*int64{req.UserID: &q.User, memberType: &q.Member, "m.room.encryption": &q.Encryption, "": &q.Empty} {
		found, ok, err := s.names.lookup(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			return nil // a user whom no room knows
		}
		*nid = found
	}
	for _, user := range req.Candidates {
		nid, ok, err := s.names.lookup(ctx, user)
		if err != nil {
			return err
		}
		if ok {
			q.Candidates = append(q.Candidates, nid)
		}
	}
	found, err := s.store.Peers(ctx, q)
	if err != nil {
		return err
	}
	answer := roomapi.Peers{}
	for _, part := range []struct {
		nids []int64
		dst  *[]string
	}{{found.Shared, &answer.Shared}, {found.Joined, &answer.Joined}, {found.Left, &answer.Left}} {
		texts, err := s.names.texts(ctx, part.nids)
		if err != nil {
			return err
		}
		for _, nid := range part.nids {
			*part.dst = append(*part.dst, texts[nid])
		}
		slices.Sort(*part.dst)
	}
	return send(answer.Append(nil))
}
