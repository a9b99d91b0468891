package v3

import (
	"context"
	"sync"
)

// buffers are reusable buffers for rendering.
type buffers struct{ pool sync.Pool }

// keepBuffer is the largest buffer that is kept, in bytes.
const keepBuffer = 256 << 10

func (p *buffers) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 4<<10)
}

func (p *buffers) put(b []byte) {
	if cap(b) > 0 && cap(b) <= keepBuffer {
		p.pool.Put(&b)
	}
}

// ordered renders n parts and hands them to emit in order. With parallel > 1 it
// works on so many at a time and keeps no more than that. work appends part i to
// dst; emit must not keep the part.
func (p *buffers) ordered(ctx context.Context, n, parallel int,
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
				part, err := work(ctx, i, p.get())
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
		p.put(r.part)
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

func (p *buffers) oneByOne(ctx context.Context, n int,
	work func(ctx context.Context, i int, dst []byte) ([]byte, error), emit func(i int, part []byte) error) error {
	if n == 0 {
		return nil
	}
	part := p.get()
	defer func() { p.put(part) }()
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
