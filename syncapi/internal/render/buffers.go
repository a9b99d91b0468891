// Package render has what the formats of all sync protocols share.
package render

import (
	"context"
	"sync"
)

// Buffers are reusable buffers for rendering. The zero Buffers are ready.
type Buffers struct{ pool sync.Pool }

// keepBuffer is the largest buffer that is kept, in bytes.
const keepBuffer = 256 << 10

// Get returns an empty buffer.
func (p *Buffers) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 4<<10)
}

// Put gives a buffer back.
func (p *Buffers) Put(b []byte) {
	if cap(b) > 0 && cap(b) <= keepBuffer {
		p.pool.Put(&b)
	}
}

// Ordered renders n parts and hands them to emit in order. With parallel > 1 it
// works on so many at a time and keeps no more than that. work appends part i to
// dst; emit must not keep the part.
func (p *Buffers) Ordered(ctx context.Context, n, parallel int,
	work func(ctx context.Context, i int, dst []byte) ([]byte, error), emit func(i int, part []byte) error) error {
	if parallel <= 1 || n <= 1 {
		return p.oneByOne(ctx, n, work, emit)
	}
	type result struct {
		part []byte
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	queue := make(chan chan result, parallel-1)
	workers.Go(func() {
		defer close(queue)
		for i := range n {
			c := make(chan result, 1)
			select {
			case queue <- c:
			case <-ctx.Done():
				return
			}
			workers.Go(func() {
				part, err := work(ctx, i, p.Get())
				c <- result{part, err}
			})
		}
	})
	done := 0
	for c := range queue {
		r := <-c
		err := r.err
		if err == nil {
			err = emit(done, r.part)
		}
		p.Put(r.part)
		if err != nil {
			return err
		}
		done++
	}
	if done < n {
		return ctx.Err()
	}
	return nil
}

func (p *Buffers) oneByOne(ctx context.Context, n int,
	work func(ctx context.Context, i int, dst []byte) ([]byte, error), emit func(i int, part []byte) error) error {
	if n == 0 {
		return nil
	}
	part := p.Get()
	defer func() { p.Put(part) }()
	for i := range n {
		var err error
		if part, err = work(ctx, i, part[:0]); err != nil {
			return err
		}
		if err := emit(i, part); err != nil {
			return err
		}
	}
	return nil
}
