package account

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/clientapi/storage"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	// tellingTogether is for how many users rooms are told at the same time.
	tellingTogether = 4
	newsPage        = 100
	// tellAgain and maxTellAgain are how long to wait when rooms cannot be told now.
	tellAgain    = time.Second
	maxTellAgain = time.Minute
)

// TellProfiles writes changed names and avatars into the member events of the rooms of
// their users, until ctx ends. What was stored and not told to all rooms when the process
// ended is told at the next start.
func (s *Store) TellProfiles(ctx context.Context) error {
	wait := tellAgain
	for ctx.Err() == nil {
		done, err := s.tellProfiles(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case done:
			wait = tellAgain
			select {
			case <-s.news:
			case <-ctx.Done():
			}
		default:
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, maxTellAgain)
		}
	}
	return nil
}

// tellProfiles tells what is stored now; done means that all of it arrived.
func (s *Store) tellProfiles(ctx context.Context) (done bool, err error) {
	done = true
	for after := ""; ; {
		list, err := s.users.ProfileNews(ctx, after, newsPage)
		if err != nil {
			return false, err
		}
		var mu sync.Mutex // guards done
		var group errgroup.Group
		group.SetLimit(tellingTogether)
		for _, n := range list {
			after = n.Localpart
			group.Go(func() error {
				if err := s.tellProfile(ctx, n); err != nil {
					if ctx.Err() == nil {
						s.notes.WithError(err).Warn("userstore: rooms cannot be told of a changed profile now")
					}
					mu.Lock()
					defer mu.Unlock()
					done = false
				}
				return nil
			})
		}
		_ = group.Wait() // has no errors
		if len(list) < newsPage || ctx.Err() != nil {
			return done, nil
		}
	}
}

// tellProfile tells the rooms of one user. What a room refuses for good is not tried again.
func (s *Store) tellProfile(ctx context.Context, n storage.ProfileNews) error {
	fields, err := s.users.Profile(ctx, n.Localpart)
	if errors.Is(err, merr.NotFound("")) { // deactivated
		return s.users.ProfileTold(ctx, n)
	}
	if err != nil {
		return err
	}
	req := &roomapi.UpdateProfileRequest{UserID: s.userID(n.Localpart)}
	// A field that is no string is left out.
	_ = json.Unmarshal(fields["displayname"], &req.Profile.DisplayName)
	_ = json.Unmarshal(fields["avatar_url"], &req.Profile.AvatarURL)
	for {
		page, err := roomapi.UpdateProfile.Do(ctx, s.bus, req)
		if err != nil {
			return err
		}
		if !page.More || page.After == req.After {
			return s.users.ProfileTold(ctx, n)
		}
		req.After = page.After
	}
}
