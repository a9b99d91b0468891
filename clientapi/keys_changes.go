package clientapi

import (
	"context"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

type keyChanges struct {
	Changed []string `json:"changed"`
	Left    []string `json:"left"`
}

// keyChanges is GET /keys/changes: what the device lists of /sync would have been from
// one token to the other.
func (s *Server) keyChanges(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	names := map[string]string{"from": query.String("from"), "to": query.String("to")}
	if err := query.Err(); err != nil {
		return nil, err
	}
	tokens := map[string]viewapi.Token{}
	for name, text := range names {
		if text == "" {
			return nil, merr.MissingParam(name)
		}
		token, err := viewapi.ParseToken(text)
		if err != nil {
			return nil, err
		}
		tokens[name] = token
	}
	from, to := tokens["from"], tokens["to"]
	// Clients may ask up to a token that is not the newest; one from before is no error.
	to.Room, to.User = max(from.Room, to.Room), max(from.User, to.User)
	return s.deviceListChanges(r.Context(), r.Identity.UserID, from, to)
}

// deviceListChanges compares the device lists at two tokens.
func (s *Server) deviceListChanges(ctx context.Context, user string, from, to viewapi.Token) (*keyChanges, error) {
	changed := map[string]bool{}
	left := []string{}
	for after, first := from.User, true; first || after < to.User; first = false {
		page := &userapi.ChangedDeviceListsResponse{Next: to.User}
		if after < to.User {
			var err error
			page, err = userapi.ChangedDeviceLists.Do(ctx, s.bus, &userapi.ChangedDeviceListsRequest{UserID: user, After: after, UpTo: to.User})
			if err != nil {
				return nil, err
			}
		}
		peers, err := roomapi.ReadPeers(ctx, s.bus, &roomapi.PeersRequest{
			UserID: user, From: from.Room, To: to.Room, Candidates: page.Users, Changes: first,
		})
		if err != nil {
			return nil, err
		}
		for _, list := range [][]string{peers.Shared, peers.Joined, page.Signed} {
			for _, u := range list {
				changed[u] = true
			}
		}
		if slices.Contains(page.Users, user) {
			changed[user] = true
		}
		left = append(left, peers.Left...)
		if !page.More {
			break
		}
		after = page.Next
	}
	return &keyChanges{Changed: append([]string{}, slices.Sorted(maps.Keys(changed))...), Left: left}, nil
}
