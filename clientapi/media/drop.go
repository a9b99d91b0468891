package media

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// drop deletes files whose last event is gone.
func (s *Server) drop(ctx context.Context, req *userapi.DropMediaRequest) (*userapi.Empty, error) {
	for _, f := range req.Files {
		origin, id, ok := strings.Cut(strings.TrimPrefix(f.URI, "mxc://"), "/")
		if !ok || origin != s.options.ServerName {
			continue
		}
		if err := s.dropOne(ctx, MXC{Origin: origin, ID: id}, f.UserID); err != nil && !errors.Is(err, merr.NotFound("")) {
			return nil, err
		}
	}
	return &userapi.Empty{}, nil
}

func (s *Server) dropOne(ctx context.Context, x MXC, userID string) error {
	item, err := s.Get(ctx, x)
	if err != nil {
		return err
	}
	if item.UserID != userID || item.Quarantined {
		return nil
	}
	profile, err := userapi.GetProfile.Do(ctx, s.options.Bus, &userapi.UserRequest{UserID: userID})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return err
	}
	if err == nil {
		for _, value := range profile.Fields {
			if bytes.Contains(value, []byte(x.String())) {
				return nil
			}
		}
	}
	return s.Delete(ctx, x)
}
