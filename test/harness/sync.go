package harness

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// SyncResponse is an answer of /sync.
type SyncResponse struct {
	NextBatch   string `json:"next_batch"`
	AccountData Events `json:"account_data"`
	Presence    Events `json:"presence"`
	Rooms       struct {
		Join   map[string]JoinedRoom  `json:"join"`
		Invite map[string]InvitedRoom `json:"invite"`
		Leave  map[string]LeftRoom    `json:"leave"`
	} `json:"rooms"`
}

// Events is a list of events.
type Events struct {
	Events []Event `json:"events"`
}

// Timeline is a piece of a room's timeline.
type Timeline struct {
	Events    []Event `json:"events"`
	Limited   bool    `json:"limited"`
	PrevBatch string  `json:"prev_batch"`
}

// JoinedRoom is what /sync says of a room that the user is in.
type JoinedRoom struct {
	Timeline    Timeline `json:"timeline"`
	State       Events   `json:"state"`
	Ephemeral   Events   `json:"ephemeral"`
	AccountData Events   `json:"account_data"`
	Summary     struct {
		Heroes  []string `json:"m.heroes"`
		Joined  *int     `json:"m.joined_member_count"`
		Invited *int     `json:"m.invited_member_count"`
	} `json:"summary"`
	Unread struct {
		Notifications int `json:"notification_count"`
		Highlights    int `json:"highlight_count"`
	} `json:"unread_notifications"`
}

// InvitedRoom is an invitation.
type InvitedRoom struct {
	InviteState Events `json:"invite_state"`
}

// LeftRoom is a room that the user has left.
type LeftRoom struct {
	Timeline    Timeline `json:"timeline"`
	State       Events   `json:"state"`
	AccountData Events   `json:"account_data"`
}

// Sync asks what is new since a token ("": everything) and waits up to timeout for it.
func (c *Client) Sync(since string, timeout time.Duration) (*SyncResponse, error) {
	return c.SyncFilter(context.Background(), since, "", timeout)
}

// SyncFilter is Sync with a filter: an id or the definition as JSON.
func (c *Client) SyncFilter(ctx context.Context, since, filter string, timeout time.Duration) (*SyncResponse, error) {
	query := url.Values{"timeout": {fmt.Sprint(timeout.Milliseconds())}}
	if since != "" {
		query.Set("since", since)
	}
	if filter != "" {
		query.Set("filter", filter)
	}
	var out SyncResponse
	_, err := c.do(ctx, timeout+requestTimeout, http.MethodGet, Path("sync")+"?"+query.Encode(), nil, &out)
	if err != nil {
		return nil, err
	}
	if out.NextBatch == "" {
		return nil, fmt.Errorf("GET /sync: 200 without a next_batch")
	}
	return &out, nil
}
