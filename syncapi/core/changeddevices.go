package core

import (
	"context"
	"slices"

	"hearth/roomserver/roomapi"
)

// maxCandidates is how many users are asked for at a time.
const maxCandidates = 3000

// ChangedDevices lists whose device lists a user's client must read again, and whose
// it may forget, between two places ("Tracking the device list for a user").
func (e *Engine) ChangedDevices(ctx context.Context, u *User, userID string, since, now Place) (changed, left []string, err error) {
	c := e.ListChanges(u, since, now)
	if !c.Covered {
		users, signed, err := e.DeviceLists(ctx, u, since, now)
		if err != nil {
			return nil, nil, err
		}
		c.Ask, c.Sure = users, signed
		if slices.Contains(users, userID) {
			c.Sure = append(c.Sure, userID)
		}
	}
	moved, err := e.PeersMoved(ctx, u, &c)
	if err != nil {
		return nil, nil, err
	}
	changed = c.Sure
	for first := moved; first || len(c.Ask) > 0; first = false {
		n := min(len(c.Ask), maxCandidates)
		peers, err := e.Source().Peers(ctx, &roomapi.PeersRequest{
			UserID: userID, From: since.Room, To: now.Room, Candidates: c.Ask[:n], Changes: first,
		})
		if err != nil {
			return nil, nil, err
		}
		c.Ask = c.Ask[n:]
		changed = append(append(changed, peers.Shared...), peers.Joined...)
		left = append(left, peers.Left...)
	}
	return unique(changed), unique(left), nil
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
