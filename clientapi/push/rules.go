package push

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/invitefilter"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
)

const (
	maxRuleSets = 4096
	pause       = time.Second
	ignoredType = "m.ignored_user_list"
)

// ruleCache keeps the rules of users until the user log says that they changed.
type ruleCache struct {
	bus   *bus.Bus
	users *lru.Cache[string, *userRules]
}

// userRules is immutable.
type userRules struct {
	compiled *pushrules.Compiled
	ignored  map[string]bool
	invites  []*invitefilter.Rules
}

// unwanted reports whether an invite by a user is one that the user wants to hear nothing of.
func (r *userRules) unwanted(inviter string) bool {
	return slices.ContainsFunc(r.invites, func(f *invitefilter.Rules) bool { return f.Decide(inviter) != invitefilter.Allow })
}

func newRuleCache(b *bus.Bus) *ruleCache {
	return &ruleCache{bus: b, users: lru.New[string, *userRules](maxRuleSets, nil)}
}

// run follows the user log until ctx ends. What it may have missed it forgets.
func (c *ruleCache) run(ctx context.Context, log *logrus.Entry) {
	for ctx.Err() == nil {
		head, err := bus.Head(ctx, c.bus, userapi.Log)
		c.users.Clear()
		if err == nil {
			err = bus.Follow(ctx, c.bus, userapi.Log, head, c.apply)
			c.users.Clear()
		}
		if ctx.Err() == nil {
			log.WithError(err).Warn("push: following the user log again")
			sleep(ctx, pause)
		}
	}
}

func (c *ruleCache) apply(_ context.Context, batch []bus.Positioned[userapi.Entry]) error {
	for _, p := range batch {
		if e := p.Entry; e != nil && e.Kind == userapi.KindAccountData && e.Data != nil && e.Data.RoomID == "" &&
			(e.Data.Type == pushrules.AccountDataType || e.Data.Type == ignoredType ||
				e.Data.Type == invitefilter.Permission || e.Data.Type == invitefilter.Filter) {
			c.users.Delete(e.UserID)
		}
	}
	return nil
}

func (c *ruleCache) of(ctx context.Context, userID string) (*userRules, error) {
	if r, ok := c.users.Get(userID); ok {
		return r, nil
	}
	answer, err := userapi.PushRules.Do(ctx, c.bus, &userapi.UserRequest{UserID: userID})
	if err != nil {
		return nil, err
	}
	r := &userRules{compiled: pushrules.Compile(userID, pushrules.Load(userID, answer.Content)), ignored: map[string]bool{}}
	list, err := userapi.GetAccountData.Do(ctx, c.bus, &userapi.AccountDataRequest{UserID: userID, Type: ignoredType})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return nil, err
	}
	if err == nil {
		var content struct {
			Users map[string]json.RawMessage `json:"ignored_users"`
		}
		_ = json.Unmarshal(list.Content, &content) // what a client has put there may be anything
		for id := range content.Users {
			r.ignored[id] = true
		}
	}
	for _, typ := range []string{invitefilter.Permission, invitefilter.Filter} {
		data, err := userapi.GetAccountData.Do(ctx, c.bus, &userapi.AccountDataRequest{UserID: userID, Type: typ})
		if errors.Is(err, merr.NotFound("")) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r.invites = append(r.invites, invitefilter.Parse(data.Content))
	}
	c.users.Put(userID, r)
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
