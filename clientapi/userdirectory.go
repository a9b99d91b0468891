package clientapi

import (
	"slices"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	defaultFound = 10
	maxFound     = 100
	maxTerm      = 255 // bytes
	// maxSearchPages bounds how many users that may not be seen are passed over.
	maxSearchPages = 5
)

type userSearchRequest struct {
	SearchTerm *string `json:"search_term"`
	Limit      *int64  `json:"limit"`
}

type foundUser struct {
	UserID      string `json:"user_id"`
	DisplayName string `json:"display_name,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// searchUsers is POST /user_directory/search: users of this server whom the one who
// asks may see, then those of other servers in the same rooms.
func (s *Server) searchUsers(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[userSearchRequest](r)
	if err != nil {
		return nil, err
	}
	if req.SearchTerm == nil {
		return nil, merr.MissingParam("search_term")
	}
	limit := int64(defaultFound)
	if req.Limit != nil {
		if limit = min(*req.Limit, maxFound); limit < 1 {
			return nil, merr.InvalidParam("limit must be at least 1")
		}
	}
	term := strings.TrimSpace(*req.SearchTerm)
	if len(term) > maxTerm {
		return nil, merr.InvalidParam("search_term is longer than %d bytes", maxTerm)
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	found := []foundUser{}
	if term == "" {
		return map[string]any{"results": found, "limited": false}, nil
	}
	found, limited, err := s.findUsers(r, term, int(limit))
	found = slices.DeleteFunc(found, func(f foundUser) bool {
		return s.policy.Allow(&userapi.PolicyQuery{Op: userapi.OpHide, User: f.UserID}) != nil
	})
	return map[string]any{"results": found, "limited": limited}, err
}

func (s *Server) findUsers(r *matrixhttp.Request, term string, limit int) ([]foundUser, bool, error) {
	found := []foundUser{}
	skip := 0
	for range maxSearchPages {
		page, err := userapi.SearchUsers.Do(r.Context(), s.bus, &userapi.SearchUsersRequest{Term: term, Skip: skip})
		if err != nil {
			return nil, false, err
		}
		skip += len(page.Users)
		ask := &roomapi.FindUsersRequest{UserID: r.Identity.UserID, Term: term}
		byID := make(map[string]userapi.FoundUser, len(page.Users))
		for _, u := range page.Users {
			ask.Candidates = append(ask.Candidates, u.UserID)
			byID[u.UserID] = u
		}
		if !page.More {
			ask.Limit = limit
		}
		seen, err := roomapi.FindUsers.Do(r.Context(), s.bus, ask)
		if err != nil {
			return nil, false, err
		}
		for _, id := range seen.Visible {
			u := byID[id]
			found = append(found, foundUser{u.UserID, u.DisplayName, u.AvatarURL})
		}
		for _, u := range seen.Others {
			found = append(found, foundUser{u.UserID, u.Profile.DisplayName, u.Profile.AvatarURL})
		}
		if len(found) > limit {
			return found[:limit], true, nil
		}
		if !page.More {
			return found, seen.Limited, nil
		}
	}
	return found, true, nil
}
