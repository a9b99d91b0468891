package outbound

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/federationapi/peers"
	"hearth/federationapi/storage"
	"hearth/internal/bus"
)

// Options say how to build Queues.
type Options struct {
	Bus        *bus.Bus
	ServerName string
	DB         *storage.DB
	Ask        *peers.Client
	Log        *logrus.Entry
	Metrics    prometheus.Registerer // may be nil
	Now        func() time.Time
	Tune       Tune
}

// Tune are times and bounds; zero values stand for the usual ones.
type Tune struct {
	// Hold is how long a server may take before it falls behind, Keep how long the queue of one that
	// fails stays in memory.
	Hold, Keep time.Duration
	// Scan is how often it is looked whose time has come.
	Scan time.Duration
	// Answer is how long a transaction may take.
	Answer time.Duration
	// AtOnce bounds the transactions on their way to servers that answer, Doubtful those to
	// servers that did not lately.
	AtOnce, Doubtful int
	// Queue bounds the events in memory for one server, EDUs those in the database.
	Queue int
	EDUs  int64
}

func (t *Tune) fill() {
	set := func(d *time.Duration, usual time.Duration) {
		if *d == 0 {
			*d = usual
		}
	}
	set(&t.Hold, 10*time.Second)
	set(&t.Keep, time.Hour)
	set(&t.Scan, 500*time.Millisecond)
	set(&t.Answer, time.Minute)
	if t.AtOnce == 0 {
		t.AtOnce = 512
	}
	if t.Doubtful == 0 {
		t.Doubtful = 64
	}
	if t.Queue == 0 {
		t.Queue = 1000
	}
	if t.EDUs == 0 {
		t.EDUs = 20_000
	}
}

// Queues hold what goes to other servers.
type Queues struct {
	o       Options
	metrics *metrics
	hosts   *hostCache
	typing  *typists
	ids     *txnIDs

	mu      sync.Mutex // guards what follows, and every server
	servers map[string]*server
	track   tracker
	// ready are the servers with work for which there is no goroutine yet: those that
	// answer, and the others.
	ready, doubtful []*server
	running, trying int
	work            sync.WaitGroup
	ctx             context.Context // of Run; nil before
	stored          int64           // the cursor in the database
}

// New reads what is known; Run must follow.
func New(ctx context.Context, o Options) (*Queues, error) {
	o.Tune.fill()
	q := &Queues{
		o: o, servers: map[string]*server{}, hosts: newHostCache(o.Bus, o.Now), typing: newTypists(o.ServerName), ids: newTxnIDs(o.Now()),
	}
	var err error
	if q.metrics, err = newMetrics(o.Metrics, q); err != nil {
		return nil, fmt.Errorf("metrics of outbound: %w", err)
	}
	for after := ""; ; {
		list, err := o.DB.Destinations(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if d.Behind != storage.Current && o.Ask.Servers.Allows(d.Server) {
				s := q.server(d.Server)
				s.state, s.behind = behind, d.Behind
			}
			after = d.Server
		}
		if len(list) < 1000 {
			break
		}
	}
	waiting, err := o.DB.CountEDUs(ctx)
	if err != nil {
		return nil, err
	}
	for name, n := range waiting {
		if o.Ask.Servers.Allows(name) {
			q.server(name).edus = n
		}
	}
	return q, nil
}

// Run sends until ctx ends.
func (q *Queues) Run(ctx context.Context) error {
	stop, err := q.subscribe(ctx)
	if err != nil {
		return err
	}
	defer stop()
	q.mu.Lock()
	q.ctx = ctx
	q.mu.Unlock()
	var work sync.WaitGroup
	work.Go(func() { q.follow(ctx) })
	work.Go(func() { q.watch(ctx) })
	work.Wait()
	q.work.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	q.storeCursor(end)
	return nil
}

// server returns a server, a new one if it has nothing to do yet. q.mu is held, or
// nobody else knows q.
func (q *Queues) server(name string) *server {
	s := q.servers[name]
	if s == nil {
		s = &server{name: name}
		q.servers[name] = s
	}
	return s
}

// wake gives a server that has work a place in a line, if its time has come. q.mu is held.
func (q *Queues) wake(s *server) {
	if s.busy || !s.hasWork() || q.o.Ask.Health.Wait(s.name) > 0 {
		return
	}
	s.busy = true
	if q.o.Ask.Health.State(s.name).Failures > 0 {
		q.doubtful = append(q.doubtful, s)
	} else {
		q.ready = append(q.ready, s)
	}
	q.dispatch()
}

// dispatch starts goroutines for the servers that wait longest. q.mu is held.
func (q *Queues) dispatch() {
	if q.ctx == nil || q.ctx.Err() != nil {
		return
	}
	start := func(line *[]*server, count *int, most int) {
		for len(*line) > 0 && *count < most {
			s := (*line)[0]
			(*line)[0] = nil
			*line = (*line)[1:]
			*count++
			q.work.Go(func() {
				q.step(q.ctx, s)
				q.mu.Lock()
				defer q.mu.Unlock()
				*count--
				s.busy = false
				q.forget(s)
				q.wake(s) // at the end of the line
				q.dispatch()
			})
		}
	}
	start(&q.ready, &q.running, q.o.Tune.AtOnce)
	start(&q.doubtful, &q.trying, q.o.Tune.Doubtful)
}

// forget drops a server that has got everything. q.mu is held.
func (q *Queues) forget(s *server) {
	if !s.busy && s.state == current && !s.hasWork() && s.unwritten == 0 {
		delete(q.servers, s.name)
	}
}
