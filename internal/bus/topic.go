package bus

import (
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Topic is the name and the type of messages that may be lost, such as typing.
type Topic[M any] struct{ Subject string }

// topicLimits bound what waits for one subscriber; more is dropped.
const (
	topicMessages = 4096
	topicBytes    = 4 << 20
)

// Publish sends m to all subscribers of all processes, this one too. It never
// blocks on them, and m is lost if there is no connection now.
func (t Topic[M]) Publish(b *Bus, m *M) {
	buf := b.buffer()
	defer buf.release()
	var err error
	if buf.b, err = appendValue(buf.b, m); err == nil {
		if n, limit := len(buf.b), b.limit(); n > limit {
			err = fmt.Errorf("message has %d bytes, at most %d can be sent", n, limit)
		} else {
			err = b.publish(topicSubject+t.Subject, "", buf.b)
		}
	}
	if err != nil {
		b.log.WithField("topic", t.Subject).WithError(err).Debug("bus: not published")
	}
}

// Subscribe calls h for each message of t, one at a time. If h is slow, messages
// are dropped. After cancel has returned, h is not called again, but a call that
// was in progress may still run.
func Subscribe[M any](b *Bus, t Topic[M], h func(*M)) (cancel func(), err error) {
	var over atomic.Bool
	sub, err := b.nc.Subscribe(topicSubject+t.Subject, func(m *nats.Msg) {
		if over.Load() {
			return
		}
		v, err := parseValue[M](m.Data)
		if err != nil {
			b.log.WithField("topic", t.Subject).WithError(err).Warn("bus: malformed message")
			return
		}
		defer func() {
			if p := recover(); p != nil {
				_ = recovered(b.log, t.Subject, p) // logged; nobody waits for an answer
			}
		}()
		h(v)
	})
	if err != nil {
		return nil, fmt.Errorf("bus: subscribe %q: %w", t.Subject, err)
	}
	if err := sub.SetPendingLimits(topicMessages, topicBytes); err != nil {
		return nil, fmt.Errorf("bus: subscribe %q: %w", t.Subject, err)
	}
	b.settle()
	return func() {
		over.Store(true)
		if err := sub.Unsubscribe(); err != nil {
			b.log.WithField("topic", t.Subject).WithError(err).Debug("bus: unsubscribe")
		}
	}, nil
}
