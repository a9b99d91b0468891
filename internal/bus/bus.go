package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

// Options says how to connect.
type Options struct {
	// URLs of NATS servers. Empty: a server is started inside this process, which
	// nobody else can reach.
	URLs []string
	// Local makes calls to handlers of this process direct function calls.
	Local bool
	// Name is shown in the NATS server's list of connections.
	Name string
	// Log may be nil: nothing is logged.
	Log *logrus.Entry
	// Metrics may be nil: nothing is counted.
	Metrics prometheus.Registerer
}

// tuning holds what only the tests of this package change.
type tuning struct {
	handlers int           // running handlers per subject
	beat     time.Duration // between signs of life
	silence  time.Duration // after which the other side is dead
	grace    time.Duration // for handlers to finish in Close
	window   int           // chunks of a stream on the way
	chunk    int           // bytes of a chunk
	maxBytes int           // bytes of a message
	head     time.Duration // between looks at the head of a published log
	headIdle time.Duration // between announcements of an unchanged head
	// tap, if set, sees every message of a log before a follower does and decides
	// what is delivered.
	tap func(data []byte, deliver func([]byte))
}

func defaults() tuning {
	return tuning{
		handlers: 1024, beat: time.Second, silence: 3 * time.Second,
		grace: 10 * time.Second, window: 8, chunk: 256 << 10, maxBytes: 1 << 20,
		head: 250 * time.Millisecond, headIdle: 2 * time.Second,
	}
}

// Bus is one connection with the handlers of this process. All methods may be used
// at the same time.
type Bus struct {
	opts     Options
	tune     tuning
	log      *logrus.Entry
	metrics  *metrics
	id       string // unique in the NATS system
	nc       *nats.Conn
	embedded *server.Server // nil with external servers

	base     context.Context // of all handlers that were called over NATS
	baseStop context.CancelFunc
	done     chan struct{} // closed when background work must stop
	wg       sync.WaitGroup
	closing  sync.Once
	closed   atomic.Bool

	endpoints sync.Map     // subject → *endpoint
	localLogs sync.Map     // log name → its read function
	active    atomic.Int64 // handlers that run, local ones too
	calls     callTable
	flights   flightTable
	buffers   sync.Pool     // of *buffer
	epoch     atomic.Uint64 // counts reconnects
	mu        sync.Mutex    // guards the three below
	subs      []*nats.Subscription
	followers map[*inbox]struct{}
	shut      bool
}

// Connect starts the embedded server or connects to one of o.URLs, trying until
// ctx ends. A lost connection is restored for ever.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	return connect(ctx, o, defaults())
}

func connect(ctx context.Context, o Options, tune tuning) (*Bus, error) {
	b := &Bus{
		opts: o, tune: tune, log: o.Log, id: strings.ToLower(rand.Text()),
		done: make(chan struct{}), followers: map[*inbox]struct{}{},
	}
	if b.log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		b.log = logrus.NewEntry(quiet)
	}
	var err error
	if b.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("bus: metrics: %w", err)
	}
	b.base, b.baseStop = context.WithCancel(context.Background())
	b.calls.init(b.id)
	b.flights.init(b.id)
	if err := b.dial(ctx); err != nil {
		b.baseStop()
		return nil, err
	}
	if err := b.listen(); err != nil {
		b.disconnect()
		return nil, fmt.Errorf("bus: subscribe: %w", err)
	}
	b.background(b.keepAlive)
	return b, nil
}

// listen subscribes what every bus needs: answers to its calls, signs of life for
// its handlers, and cancellations.
func (b *Bus) listen() error {
	for subject, handle := range map[string]nats.MsgHandler{
		b.calls.prefix + "*":   b.onReply,
		b.flights.prefix + "*": b.onAck,
		cancelSubject:          b.onCancel,
	} {
		sub, err := b.nc.Subscribe(subject, handle)
		if err != nil {
			return err
		}
		// These handlers never block, so what waits is bounded by the work in flight.
		if err := sub.SetPendingLimits(1<<20, 256<<20); err != nil {
			return err
		}
	}
	return nil
}

// background runs f until Close; f returns when b.done is closed.
func (b *Bus) background(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return
	}
	b.wg.Go(f)
}

// Close takes no new requests from other processes, waits up to 10 s for running
// handlers, ends the contexts of those that still run, and disconnects. Calls in
// progress to other processes fail. It may be called more than once.
func (b *Bus) Close() {
	b.closing.Do(func() {
		b.mu.Lock()
		b.shut = true
		subs := b.subs
		b.mu.Unlock()
		for _, sub := range subs {
			if err := sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				b.log.WithError(err).Debug("bus: drain")
			}
		}
		quiet := func() bool {
			for _, sub := range subs {
				if sub.IsValid() && b.nc.IsConnected() {
					return false
				}
			}
			return b.active.Load() == 0
		}
		if !poll(b.tune.grace, quiet) {
			b.log.WithField("running", b.active.Load()).Warn("bus: handlers did not finish in time")
		}
		b.closed.Store(true)
		b.baseStop()
		poll(2*time.Second, func() bool { return b.active.Load() == 0 })
		close(b.done)
		b.wg.Wait()
		b.disconnect()
	})
}

func (b *Bus) disconnect() {
	b.baseStop()
	if b.nc.IsConnected() {
		if err := b.nc.FlushTimeout(time.Second); err != nil {
			b.log.WithError(err).Debug("bus: flush")
		}
	}
	b.nc.Close()
	b.calls.failAll(merr.Unavailable("The server is shutting down"))
	if b.embedded != nil {
		b.embedded.Shutdown()
		b.embedded.WaitForShutdown()
	}
}

// poll waits until ok or until d has passed.
func poll(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(2 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// limit returns the greatest message that can be sent now, in bytes.
func (b *Bus) limit() int {
	if n := b.nc.MaxPayload(); n > 0 && n < int64(b.tune.maxBytes) {
		return int(n)
	}
	return b.tune.maxBytes
}

// publish sends one message. While disconnected it fails at once.
func (b *Bus) publish(subject, reply string, data []byte) error {
	if reply == "" {
		return b.nc.Publish(subject, data)
	}
	return b.nc.PublishRequest(subject, reply, data)
}
