package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"hearth/internal/merr"
)

const reconnectWait = 150 * time.Millisecond

func (b *Bus) dial(ctx context.Context) error {
	opts := []nats.Option{
		nats.Name(b.opts.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectOnFlusherError(),
		// No buffer while disconnected: a call must fail at once, and what a log
		// publishes then is found by its followers later.
		nats.ReconnectBufSize(-1),
		nats.Timeout(2 * time.Second),
		nats.DisconnectErrHandler(b.onDisconnect),
		nats.ReconnectHandler(b.onReconnect),
		nats.ErrorHandler(b.onAsyncError),
	}
	if len(b.opts.URLs) == 0 {
		return b.startEmbedded(opts)
	}
	// A dead peer that does not close its connection is found within 6 s.
	opts = append(opts, nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2))
	urls := strings.Join(b.opts.URLs, ",")
	for try := 0; ; try++ {
		nc, err := nats.Connect(urls, opts...)
		if err == nil {
			b.nc = nc
			return nil
		}
		if try%40 == 0 {
			b.log.WithError(err).Warn("bus: cannot connect to NATS, trying again")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bus: connect to NATS: %w", errors.Join(ctx.Err(), err))
		case <-time.After(reconnectWait):
		}
	}
}

// startEmbedded starts a server in this process and connects through a pipe.
//
// Neither side pings: the client answers a ping under the lock that it holds while
// it writes, and over an unbuffered pipe whose server side is writing too, both
// would wait for each other until the server's write deadline.
func (b *Bus) startEmbedded(opts []nats.Option) error {
	const never = 1000 * time.Hour
	srv, err := server.NewServer(&server.Options{
		ServerName: "embedded-" + b.id, DontListen: true,
		NoSigs: true, NoLog: true, NoSystemAccount: true, NoFastProducerStall: true,
		PingInterval: never, DisableShortFirstPing: true,
		MaxPayload: int32(b.tune.maxBytes),
	})
	if err != nil {
		return fmt.Errorf("bus: embedded NATS: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return errors.New("bus: embedded NATS did not start")
	}
	nc, err := nats.Connect("", append(opts, nats.InProcessServer(srv), nats.PingInterval(never))...)
	if err != nil {
		srv.Shutdown()
		return fmt.Errorf("bus: connect to embedded NATS: %w", err)
	}
	b.nc, b.embedded = nc, srv
	return nil
}

func (b *Bus) onDisconnect(_ *nats.Conn, err error) {
	if b.closed.Load() {
		return
	}
	b.log.WithError(err).Warn("bus: connection to NATS lost")
	// The answers of these calls may never come.
	b.calls.failAll(merr.Unavailable("The connection between the server's parts was lost"))
}

func (b *Bus) onReconnect(*nats.Conn) {
	b.log.Info("bus: connected to NATS again")
	b.epoch.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for in := range b.followers {
		in.check()
	}
}

func (b *Bus) onAsyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	entry := b.log.WithError(err)
	if sub != nil {
		entry = entry.WithField("subject", sub.Subject)
	}
	// A slow follower is no fault: it reads from the owner what it has missed.
	if errors.Is(err, nats.ErrSlowConsumer) {
		entry.Debug("bus: messages were dropped")
		return
	}
	entry.Warn("bus: NATS")
}

// settle waits until the server knows the subscriptions made so far, so that
// another process that is told of them is heard. The embedded server has no other
// clients. Without a connection there is nothing to wait for: they are made again
// with the next one.
func (b *Bus) settle() {
	if b.embedded != nil {
		return
	}
	if err := b.nc.FlushTimeout(2 * time.Second); err != nil {
		b.log.WithError(err).Debug("bus: subscriptions are not confirmed")
	}
}
