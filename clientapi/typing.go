package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	defaultTyping = 30_000  // milliseconds
	maxTyping     = 120_000 // milliseconds
)

// typing is PUT /rooms/{roomId}/typing/{userId}.
func (s *Server) typing(r *matrixhttp.Request) (any, error) {
	s.presence.act(r)
	if err := self(r); err != nil {
		return nil, err
	}
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[struct {
		Typing  *bool  `json:"typing"`
		Timeout *int64 `json:"timeout"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Typing == nil {
		return nil, merr.MissingParam("typing")
	}
	if s.shadowed(r) {
		return nil, nil
	}
	timeout := int64(defaultTyping)
	if req.Timeout != nil {
		timeout = min(max(*req.Timeout, 0), maxTyping)
	}
	_, err = roomapi.SetTyping.Do(r.Context(), s.bus, &roomapi.TypingRequest{
		RoomID: room, UserID: r.Identity.UserID, Typing: *req.Typing, TimeoutMS: timeout,
	})
	return nil, err
}
