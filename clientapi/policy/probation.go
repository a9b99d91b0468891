package policy

import (
	"context"
	"regexp"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxAges bounds the accounts whose age is remembered.
const maxAges = 50_000

// Probation is what new accounts may not do yet. It ends after a time, or at once with a rule of
// an administrator that allows the user.
type Probation struct {
	For time.Duration // after registration; 0: there is none
	// Invites, Joins and Rooms are how many a day.
	Invites, Joins, Rooms int
	// Media and Links: may they upload files, and post addresses of pages.
	Media, Links bool
}

// trial knows who is on probation.
type trial struct {
	Probation
	now   func() time.Time
	bus   *bus.Bus
	ages  *lru.Cache[string, int64] // when accounts were made, in milliseconds
	spent *buckets
}

// on reports whether a user of this server is on probation.
func (t *trial) on(ctx context.Context, userID string) (bool, error) {
	if t.For <= 0 || userID == "" {
		return false, nil
	}
	made, ok := t.ages.Get(userID)
	if !ok {
		u, err := userapi.GetUser.Do(ctx, t.bus, &userapi.UserRequest{UserID: userID})
		if err != nil {
			if merr.From(err).Code == "M_NOT_FOUND" { // of an application service, not used before
				return false, nil
			}
			return false, err
		}
		if made = u.CreatedTS; u.Admin {
			made = 0
		}
		t.ages.Put(userID, made)
	}
	return t.now().UnixMilli() < made+t.For.Milliseconds(), nil
}

func newcomer(what string) error {
	return merr.Forbidden("New accounts may not %s yet", what)
}

// daily takes one of a number a day.
func (t *trial) daily(userID, what string, n int) error {
	if n <= 0 {
		return newcomer(what)
	}
	return t.spent.take(what+" "+userID, rate{float64(n), 24 * time.Hour / time.Duration(n)})
}

// probation applies f to a user who is on probation and whom no administrator has let go.
func (g *Guard) probation(ctx context.Context, userID, op string, f func(t *trial) error) error {
	if g.free(userID) || g.d.Trusted != nil && g.d.Trusted(userID) {
		return nil
	}
	on, err := g.trial.on(ctx, userID)
	if err != nil || !on {
		return err
	}
	if v := g.set.Load().Decide(&userapi.PolicyQuery{Op: op, User: userID}, g.d.Now().UnixMilli()); v.Rule != nil && !v.Denied {
		return nil
	}
	return f(g.trial)
}

func (g *Guard) free(userID string) bool { return g.d.Free != nil && g.d.Free(userID) }

// link finds the address of a page.
var link = regexp.MustCompile(`(?i)\b(?:https?://|www\.)\S`)

// hasLinks reports whether the text of a message names a page; it looks at the text that people
// see and at the HTML.
func hasLinks(content []byte) bool {
	for _, key := range []string{"body", "formatted_body"} {
		if text, ok := pdu.GetString(content, key); ok && link.MatchString(text) {
			return true
		}
	}
	return false
}
