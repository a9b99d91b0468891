package federationapi

import (
	"context"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/peers"
	"hearth/internal/bus"
)

const (
	// rulesEvery is how often the rules about servers are compared with their owner's.
	rulesEvery = 30 * time.Second
	// rulesRetry is the pause after a failure.
	rulesRetry = time.Second
	// maxRulePages bounds one reading of the rules.
	maxRulePages = 10 * userapi.MaxRules / userapi.MaxRulesPage
)

// followRules keeps the rules about servers current until ctx ends.
func (s *Server) followRules(ctx context.Context, live *peers.Live) {
	wake := make(chan struct{}, 1)
	cancel, err := bus.Subscribe(s.deps.Bus, userapi.PolicyTopic, func(*userapi.PolicyChange) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		s.deps.Log.WithError(err).Error("nothing tells of changes of the rules about servers; they are looked for") // as below
	} else {
		defer cancel()
	}
	revision := int64(-1)
	for {
		pause := rulesEvery
		if revision, err = s.readRules(ctx, live, revision); err != nil {
			pause = rulesRetry
			s.deps.Log.WithError(err).Debug("the rules about servers cannot be read, trying again")
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// readRules reads the rules if they are not those of a revision, and returns the one read.
func (s *Server) readRules(ctx context.Context, live *peers.Live, have int64) (int64, error) {
	var rules []userapi.Rule
	req, revision := &userapi.ListRulesRequest{Scope: userapi.ScopeServer, Limit: userapi.MaxRulesPage}, int64(0)
	for range maxRulePages {
		page, err := userapi.ListRules.Do(ctx, s.deps.Bus, req)
		if err != nil {
			return have, err
		}
		if req.After == "" {
			if revision = page.Revision; revision == have {
				return have, nil
			}
		}
		rules = append(rules, page.Rules...)
		if !page.More || len(page.Rules) == 0 {
			break
		}
		req.After = page.Rules[len(page.Rules)-1].ID
	}
	live.Set(rules)
	return revision, nil
}
