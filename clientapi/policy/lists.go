package policy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

const (
	// listsEvery is how often all lists are read again, whatever was told of them.
	listsEvery = 10 * time.Minute
	// listSettle is how long a list that changes waits for more.
	listSettle = 300 * time.Millisecond
	listRetry  = 5 * time.Second
	// maxListRules bounds the rules of one list.
	maxListRules = 50_000
)

// ListDeps is what Lists needs.
type ListDeps struct {
	Bus        *bus.Bus
	ServerName string
	Log        *logrus.Entry
	// Replace makes the rules of a list exactly these.
	Replace func(ctx context.Context, roomID string, rules []userapi.Rule) error
}

// Lists follows the policy rooms that the server enforces. A list is read whole when something
// in it changes: what counts is the state of the room.
type Lists struct {
	d    ListDeps
	wake chan struct{}

	mu    sync.Mutex // guards the rest
	known map[string]bool
	dirty map[string]bool
	all   bool // everything is to be read
}

// NewLists returns the follower; Run must follow.
func NewLists(d ListDeps) *Lists {
	return &Lists{d: d, wake: make(chan struct{}, 1), known: map[string]bool{}, dirty: map[string]bool{}, all: true}
}

// Run follows the lists until ctx ends.
func (l *Lists) Run(ctx context.Context) error {
	cancel, err := bus.Subscribe(l.d.Bus, userapi.PolicyTopic, func(c *userapi.PolicyChange) {
		if c.Lists {
			l.mark("")
		}
	})
	if err != nil {
		return err
	}
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { l.watch(ctx); return nil })
	group.Go(func() error { l.work(ctx); return nil })
	return group.Wait()
}

// mark notes that a list has to be read; all of them if roomID is empty.
func (l *Lists) mark(roomID string) {
	l.mu.Lock()
	if roomID == "" {
		l.all = true
	} else if l.known[roomID] {
		l.dirty[roomID] = true
	} else {
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// watch looks for changes in the room log. It begins at its end, since all lists are read at
// start, and again if it loses its place.
func (l *Lists) watch(ctx context.Context) {
	for ctx.Err() == nil {
		head, err := bus.Head(ctx, l.d.Bus, roomapi.Log)
		if err == nil {
			l.mark("")
			err = bus.Follow(ctx, l.d.Bus, roomapi.Log, head, l.apply)
		}
		if err != nil && ctx.Err() == nil {
			l.d.Log.WithError(err).Warn("policy lists: the room log cannot be read, trying again")
			wait(ctx, listRetry)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (l *Lists) apply(_ context.Context, batch []bus.Positioned[roomapi.Entry]) error {
	isRule := func(e *roomapi.Event) bool { return e != nil && listTypes[e.Type] != "" }
	for _, p := range batch {
		e := p.Entry
		if e == nil || e.Kind != roomapi.KindEvent {
			continue
		}
		if isRule(e.Event) || isRule(e.Redacted) || e.Reset || slices.ContainsFunc(e.State, isRule) ||
			slices.ContainsFunc(e.Gone, func(k roomapi.StateKey) bool { return listTypes[k.Type] != "" }) {
			l.mark(e.RoomID)
		}
	}
	return nil
}

func (l *Lists) work(ctx context.Context) {
	tick := time.NewTicker(listsEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := l.round(ctx); err != nil && ctx.Err() == nil {
			l.d.Log.WithError(err).Warn("policy lists: a list cannot be read, trying again")
			wait(ctx, listRetry)
			l.mark("")
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
			wait(ctx, listSettle)
		case <-tick.C:
			l.mark("")
		}
	}
}

// round reads the lists that have to be read.
func (l *Lists) round(ctx context.Context) error {
	lists, err := userapi.PolicyLists.Do(ctx, l.d.Bus, &userapi.Empty{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.known = make(map[string]bool, len(lists.Lists))
	for i := range lists.Lists {
		l.known[lists.Lists[i].RoomID] = true
	}
	dirty, all := l.dirty, l.all
	l.dirty, l.all = map[string]bool{}, false
	l.mu.Unlock()
	var failed error
	for i := range lists.Lists {
		list := &lists.Lists[i]
		if !all && !dirty[list.RoomID] {
			continue
		}
		if err := l.read(ctx, list); err != nil {
			failed = err
		}
	}
	return failed
}

// read makes the rules of a list what the state of its room says.
func (l *Lists) read(ctx context.Context, list *userapi.PolicyList) error {
	req := &roomapi.StateRequest{RoomID: list.RoomID, UserID: roomapi.Everything}
	for typ := range listTypes {
		req.Types = append(req.Types, typ)
	}
	slices.Sort(req.Types)
	var rules []userapi.Rule
	err := roomapi.ReadEvents(ctx, l.d.Bus, req, func(e *roomapi.Event) error {
		if r := listRule(list, l.d.ServerName, e); r != nil && len(rules) < maxListRules {
			rules = append(rules, *r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(rules) == maxListRules {
		l.d.Log.WithField("room", list.RoomID).Warnf("policy lists: only %d rules of this list are enforced", maxListRules)
	}
	return l.d.Replace(ctx, list.RoomID, rules)
}
