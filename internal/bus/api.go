package bus

import (
	"context"
	"time"

	"hearth/internal/merr"
)

// Call is the name and the types of a request with one answer.
type Call[Req, Resp any] struct {
	Subject string
	Timeout time.Duration
}

func (c Call[Req, Resp]) Do(ctx context.Context, b *Bus, req *Req) (*Resp, error) {
	return nil, merr.Unavailable("not connected")
}

func Handle[Req, Resp any](b *Bus, c Call[Req, Resp], h func(context.Context, *Req) (*Resp, error)) error {
	return merr.Unavailable("not connected")
}

type Stream[Req any] struct {
	Subject string
	Timeout time.Duration
}

func (s Stream[Req]) Do(ctx context.Context, b *Bus, req *Req, recv func(chunk []byte) error) error {
	return merr.Unavailable("not connected")
}

func HandleStream[Req any](b *Bus, s Stream[Req], h func(ctx context.Context, req *Req, send func(chunk []byte) error) error) error {
	return merr.Unavailable("not connected")
}

type Positioned[E any] struct {
	Pos   int64
	Entry *E
}

type Log[E any] struct{ Name string }

type Publisher[E any] struct{}

func NewPublisher[E any](b *Bus, l Log[E], head func() int64) *Publisher[E] {
	return &Publisher[E]{}
}

func (p *Publisher[E]) Publish(pos int64, e *E) {}

func ServeLog[E any](b *Bus, l Log[E], read func(ctx context.Context, after int64, limit int) (entries []Positioned[E], head int64, err error)) error {
	return merr.Unavailable("not connected")
}

func Follow[E any](ctx context.Context, b *Bus, l Log[E], after int64, apply func(ctx context.Context, batch []Positioned[E]) error) error {
	return merr.Unavailable("not connected")
}

func Head[E any](ctx context.Context, b *Bus, l Log[E]) (int64, error) {
	return 0, merr.Unavailable("not connected")
}

type Topic[M any] struct{ Subject string }

func (t Topic[M]) Publish(b *Bus, m *M) {}

func Subscribe[M any](b *Bus, t Topic[M], h func(*M)) (cancel func(), err error) {
	return nil, merr.Unavailable("not connected")
}
