package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	// maxSpacePage is how many children one answer shows, spaceBytes how large it gets.
	maxSpacePage    = 100
	maxAllowedRooms = 50 // of a restricted join rule that are looked at
	spaceBytes      = 600 << 10
)

// federationHierarchy is GET /hierarchy: a space and its direct children, as far as
// users of the server can join or read them ("Spaces").
func (s *Server) federationHierarchy(ctx context.Context, req *roomapi.FederationHierarchyRequest) (*roomapi.FederationHierarchyResponse, error) {
	root, err := s.summaryForServer(ctx, req.RoomID, req.Origin)
	if errors.Is(err, errNoRoom) || err == nil && root == nil {
		return nil, merr.NotFound("Room does not exist")
	}
	if err != nil {
		return nil, err
	}
	w := &spaceWalk{s: s, req: &roomapi.HierarchyRequest{SuggestedOnly: req.SuggestedOnly}}
	ids, state, err := w.children(ctx, root)
	if err != nil {
		return nil, err
	}
	if len(state) > spaceBytes {
		return nil, merr.TooLarge("The space has too many rooms")
	}
	root.ChildrenState = state
	answer := struct {
		Room         *roomapi.Summary   `json:"room"`
		Children     []*roomapi.Summary `json:"children"`
		Inaccessible []string           `json:"inaccessible_children"`
	}{root, []*roomapi.Summary{}, []string{}}
	seen := map[string]bool{req.RoomID: true}
	size := len(state)
	for _, id := range ids {
		if seen[id] || len(answer.Children)+len(answer.Inaccessible) >= maxSpacePage || size > spaceBytes {
			continue
		}
		seen[id] = true
		child, err := s.summaryForServer(ctx, id, req.Origin)
		switch {
		case errors.Is(err, errNoRoom):
		case err != nil:
			return nil, err
		case child == nil:
			answer.Inaccessible = append(answer.Inaccessible, id)
		default:
			answer.Children = append(answer.Children, child)
			size += len(child.Name) + len(child.Topic) + 500
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, merr.Internal(err)
	}
	return &roomapi.FederationHierarchyResponse{Body: body}, nil
}

// summaryForServer is a room as a server sees it from outside; nil if none of its users may. What we
// know of a room that none of ours is in any more may be wrong: we do not tell it.
func (s *Server) summaryForServer(ctx context.Context, roomID, server string) (*roomapi.Summary, error) {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	if !h.hosts.local() {
		return nil, merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	if ok, err := s.allowed(ctx, r, h, server); err != nil || !ok {
		return nil, err
	}
	sum, err := summarize(ctx, r, h.joined, s.committedLookup(r, h))
	if err != nil {
		return nil, err
	}
	switch {
	case h.hosts.has(server), sum.WorldReadable:
		return sum, nil
	case sum.JoinRule == "public", sum.JoinRule == "knock", sum.JoinRule == "knock_restricted":
		return sum, nil
	case sum.JoinRule == "restricted":
		if in, err := s.serverInOneOf(ctx, server, sum.AllowedRoomIDs); err != nil || !in {
			return nil, err
		}
		return sum, nil
	}
	return nil, nil
}

// serverInOneOf reports whether a server has joined members in one of the rooms, as far as we know them.
func (s *Server) serverInOneOf(ctx context.Context, server string, rooms []string) (bool, error) {
	for _, id := range rooms[:min(len(rooms), maxAllowedRooms)] {
		_, h, done, err := s.view(ctx, id)
		if errors.Is(err, errNoRoom) {
			continue
		}
		if err != nil {
			return false, err
		}
		in := h.hosts.has(server)
		done()
		if in {
			return true, nil
		}
	}
	return false, nil
}
