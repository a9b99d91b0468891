package policy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/clientapi/antispam"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
)

const (
	// lookEvery is how often the rules are compared with their owner's, because what tells of
	// changes may be lost.
	lookEvery = 30 * time.Second
	// settle is how long a change waits for others that follow it.
	settle = 100 * time.Millisecond
	// maxPages bounds the pages of one reading of the rules.
	maxPages = 10 * userapi.MaxRules / userapi.MaxRulesPage
)

// Deps is what a Guard needs.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	Log        *logrus.Entry
	Metrics    prometheus.Registerer // may be nil
	Now        func() time.Time
	// Webhooks are asked last; nil: there are none.
	Webhooks *antispam.Client
	// TwoWay hides a user from those whom the user ignores.
	TwoWay    bool
	Probation Probation
	// Limits bounds invites and joins of one user and of one server.
	Limits bool
	// Free says which users have no limits, Trusted which are never on probation: those of
	// application services. nil: none.
	Free, Trusted func(userID string) bool
}

// Guard says what may be done.
type Guard struct {
	d        Deps
	set      atomic.Pointer[Set]
	revision atomic.Int64
	verdicts *prometheus.CounterVec
	limits   *limits
	trial    *trial
	wake     chan struct{}
}

// New returns a guard that knows no rules yet: Load reads them, Run keeps them current.
func New(d Deps) (*Guard, error) {
	g := &Guard{d: d, wake: make(chan struct{}, 1), verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hearth_policy_verdicts_total", Help: "What rules said of what was asked, where they said anything.",
	}, []string{"op", "verdict"})}
	if d.Metrics != nil {
		if err := d.Metrics.Register(g.verdicts); err != nil {
			return nil, err
		}
	}
	g.limits = newLimits(d.Limits, d.Now)
	g.trial = &trial{Probation: d.Probation, now: d.Now, bus: d.Bus, ages: lru.New[string, int64](maxAges, nil), spent: newLimits(true, d.Now).table()}
	return g, nil
}

// Handle answers the calls of userapi/policy.go that begin with "policy".
func (g *Guard) Handle() error {
	for _, err := range []error{
		bus.Handle(g.d.Bus, userapi.CheckPolicy, g.checkPolicy),
		bus.Handle(g.d.Bus, userapi.MayInvite, g.MayInvite),
		bus.Handle(g.d.Bus, userapi.MayJoin, g.MayJoin),
	} {
		if err != nil {
			return fmt.Errorf("policy: register calls: %w", err)
		}
	}
	return nil
}

// Load reads all rules.
func (g *Guard) Load(ctx context.Context) error {
	var rules []userapi.Rule
	req, revision := &userapi.ListRulesRequest{Limit: userapi.MaxRulesPage}, int64(0)
	for range maxPages {
		page, err := userapi.ListRules.Do(ctx, g.d.Bus, req)
		if err != nil {
			return err
		}
		if req.After == "" {
			revision = page.Revision
		}
		rules = append(rules, page.Rules...)
		if !page.More || len(page.Rules) == 0 {
			break
		}
		req.After = page.Rules[len(page.Rules)-1].ID
	}
	// What changed while the pages were read has a later revision, which is looked for next time.
	g.set.Store(NewSet(rules))
	g.revision.Store(revision)
	return nil
}

// Run keeps the rules current until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	cancel, err := bus.Subscribe(g.d.Bus, userapi.PolicyTopic, func(*userapi.PolicyChange) {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to rules: %w", err)
	}
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { g.d.Webhooks.Run(ctx); return nil })
	group.Go(func() error { g.keep(ctx); return nil })
	return group.Wait()
}

func (g *Guard) keep(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-g.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		if err := g.look(ctx); err != nil && ctx.Err() == nil {
			g.d.Log.WithError(err).Warn("policy: the rules cannot be read, trying again")
		}
	}
}

// look reads the rules again if they have changed.
func (g *Guard) look(ctx context.Context) error {
	page, err := userapi.ListRules.Do(ctx, g.d.Bus, &userapi.ListRulesRequest{Limit: 1})
	if err != nil || page.Revision == g.revision.Load() && g.set.Load() != nil {
		return err
	}
	return g.Load(ctx)
}

// decide asks the rules and counts.
func (g *Guard) decide(q *userapi.PolicyQuery) userapi.PolicyVerdict {
	v := g.set.Load().Decide(q, g.d.Now().UnixMilli())
	switch {
	case v.Denied:
		g.verdicts.WithLabelValues(q.Op, "deny").Inc()
	case v.Rule != nil:
		g.verdicts.WithLabelValues(q.Op, "allow").Inc()
	case len(v.DryRun) > 0:
		g.verdicts.WithLabelValues(q.Op, "dry_run").Inc()
		g.d.Log.WithFields(logrus.Fields{"op": q.Op, "rule": v.DryRun[0].ID}).Info("policy: a rule on trial would deny this")
	}
	return v
}

// Allow refuses what a rule denies: 403 M_FORBIDDEN. What rule it was is for administrators.
func (g *Guard) Allow(q *userapi.PolicyQuery) error {
	if v := g.decide(q); v.Denied {
		return denied()
	}
	return nil
}

func denied() error { return merr.Forbidden("The policy of this server does not allow this") }

func (g *Guard) checkPolicy(_ context.Context, q *userapi.PolicyQuery) (*userapi.PolicyVerdict, error) {
	if err := ValidOps([]string{q.Op}); err != nil {
		return nil, err
	}
	v := g.set.Load().Decide(q, g.d.Now().UnixMilli())
	v.Explanation = Explain(&v)
	return &v, nil
}
