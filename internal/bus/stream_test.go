package bus

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/internal/testkit/natsserver"
)

func natsURL(t *testing.T) string {
	t.Helper()
	return natsserver.Start(t).URL()
}

type want struct{ Bytes int }

var flow = Stream[want]{Subject: "test.flow", Timeout: 20 * time.Second}

func noise(n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(data) // never fails
	return data
}

func TestStreamOfTenMegabytesToASlowConsumer(t *testing.T) {
	data := noise(10 << 20)
	each(t, quick(), func(t *testing.T, p pair) {
		var ahead, sent, got atomic.Int64
		must(t, HandleStream(p.owner, flow, func(_ context.Context, _ *want, send func([]byte) error) error {
			for part := data; len(part) > 0; {
				n := min(len(part), 300_000)
				if err := send(part[:n]); err != nil {
					return err
				}
				ahead.Store(max(ahead.Load(), sent.Add(int64(n))-got.Load()))
				part = part[n:]
			}
			return nil
		}))
		out := make([]byte, 0, len(data))
		slow := 0
		must(t, flow.Do(context.Background(), p.caller, &want{}, func(chunk []byte) error {
			if len(chunk) > 256<<10 {
				t.Errorf("chunk of %d bytes", len(chunk))
			}
			if slow++; slow == 5 {
				time.Sleep(2 * p.owner.tune.silence) // slow is not dead
			}
			out = append(out, chunk...)
			got.Store(int64(len(out)))
			return nil
		}))
		if !bytes.Equal(out, data) {
			t.Fatal("other bytes came")
		}
		if limit := int64(10 * 300_000); ahead.Load() > limit {
			t.Fatalf("the sender was %d bytes ahead", ahead.Load())
		}
	})
}

func TestStreamKeepsBoundariesOfSmallChunks(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		must(t, HandleStream(p.owner, flow, func(_ context.Context, _ *want, send func([]byte) error) error {
			for i := range 1000 {
				if err := send(bytes.Repeat([]byte{byte(i)}, i%7)); err != nil {
					return err
				}
			}
			return nil
		}))
		var sizes []int
		must(t, flow.Do(context.Background(), p.caller, nil, func(c []byte) error { sizes = append(sizes, len(c)); return nil }))
		i := 0
		for n := range 1000 {
			if n%7 == 0 {
				continue // empty chunks are skipped
			}
			if i >= len(sizes) || sizes[i] != n%7 {
				t.Fatalf("chunk %d is wrong", i)
			}
			i++
		}
		if i != len(sizes) {
			t.Fatalf("%d chunks, want %d", len(sizes), i)
		}
	})
}

func TestStreamErrors(t *testing.T) {
	for name, chunks := range map[string]int{"BeforeChunks": 0, "AfterChunks": 20} {
		t.Run(name, func(t *testing.T) {
			each(t, defaults(), func(t *testing.T, p pair) {
				must(t, HandleStream(p.owner, flow, func(_ context.Context, _ *want, send func([]byte) error) error {
					for range chunks {
						if err := send([]byte("x")); err != nil {
							return err
						}
					}
					return merr.Forbidden("no")
				}))
				count := 0
				err := flow.Do(context.Background(), p.caller, nil, func([]byte) error { count++; return nil })
				if !errors.Is(err, merr.Forbidden("")) || status(err) != 403 || count != chunks {
					t.Fatalf("got %v after %d chunks", err, count)
				}
			})
		})
	}
}

func TestStreamPanicAndMissingHandler(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		if err := flow.Do(context.Background(), p.caller, nil, nil); status(err) != 503 {
			t.Fatalf("no handler: %v", err)
		}
		must(t, HandleStream(p.owner, flow, func(_ context.Context, _ *want, send func([]byte) error) error {
			if err := send([]byte("x")); err != nil {
				return err
			}
			panic("boom")
		}))
		if err := flow.Do(context.Background(), p.caller, nil, func([]byte) error { return nil }); status(err) != 500 {
			t.Fatalf("panic: %v", err)
		}
	})
}

// endless handles flow with a sender that goes on until it fails and reports why.
func endless(t *testing.T, b *Bus) (over chan error) {
	t.Helper()
	over = make(chan error, 1)
	must(t, HandleStream(b, flow, func(ctx context.Context, _ *want, send func([]byte) error) error {
		for {
			if err := send(make([]byte, 1000)); err != nil {
				if ctx.Err() == nil {
					err = errors.Join(err, errors.New("context still lives"))
				}
				over <- err
				return nil // a handler that forgets the error must not look complete
			}
		}
	}))
	return over
}

func TestReceiverErrorEndsTheSender(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		over := endless(t, p.owner)
		enough, n := errors.New("enough"), 0
		defer within(t, time.Second)()
		err := flow.Do(context.Background(), p.caller, nil, func([]byte) error {
			if n++; n == 30 {
				return enough
			}
			return nil
		})
		if err != enough || n != 30 {
			t.Fatalf("got %v after %d", err, n)
		}
		<-over
	})
}

func TestCanceledReceiverEndsTheSender(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		over := endless(t, p.owner)
		ctx, cancel := context.WithCancel(context.Background())
		defer within(t, time.Second)()
		n := 0
		err := flow.Do(ctx, p.caller, nil, func([]byte) error {
			if n++; n == 30 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		<-over
	})
}

func TestDeadlineEndsTheStreamAsAnError(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		over := endless(t, p.owner)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		defer within(t, time.Second)()
		err := flow.Do(ctx, p.caller, nil, func([]byte) error { return nil })
		if status(err) != 504 {
			t.Fatalf("got %v", err)
		}
		<-over
	})
}

func TestVanishedConsumerEndsTheSender(t *testing.T) {
	url, tune := natsURL(t), quick()
	tune.silence = time.Minute // not needed: nobody listens any more
	owner := open(t, Options{URLs: []string{url}}, tune)
	caller := open(t, Options{URLs: []string{url}}, tune)
	over := endless(t, owner)
	n := 0
	go func() {
		_ = flow.Do(context.Background(), caller, nil, func([]byte) error {
			if n++; n == 30 {
				caller.nc.Close() // as if killed
			}
			return nil
		})
	}()
	defer within(t, 2*time.Second)()
	<-over
}

func TestMuteConsumerEndsTheSender(t *testing.T) {
	b := open(t, Options{}, quick())
	over := endless(t, b)
	// Somebody who listens to the answers and never acknowledges.
	inbox, err := b.nc.SubscribeSync("hearth.re.mute.1")
	must(t, err)
	defer func() { must(t, inbox.Unsubscribe()) }()
	must(t, b.publish(callSubject+flow.Subject, "hearth.re.mute.1", append(request{timeout: time.Minute}.append(nil), "{}"...)))
	defer within(t, 3*b.tune.silence)()
	<-over
	n, _, err := inbox.Pending()
	must(t, err)
	if chunks := n; chunks > b.tune.window+20 { // the rest are signs of life
		t.Fatalf("%d messages without acknowledgement", n)
	}
}

func TestForgottenSendErrorIsNoCompleteStream(t *testing.T) {
	b := open(t, Options{}, quick())
	over := endless(t, b) // returns nil after send has failed
	inbox, err := b.nc.SubscribeSync("hearth.re.mute.1")
	must(t, err)
	defer func() { must(t, inbox.Unsubscribe()) }()
	must(t, b.publish(callSubject+flow.Subject, "hearth.re.mute.1", append(request{timeout: 50 * time.Millisecond}.append(nil), "{}"...)))
	<-over
	for {
		m, err := inbox.NextMsg(time.Second)
		must(t, err)
		switch m.Data[0] {
		case kindEnd:
			t.Fatal("the stream looks complete")
		case kindError:
			if e := decodeError(m.Data[1:]); e.Status != 504 {
				t.Fatalf("got %v", e)
			}
			return
		}
	}
}

func TestVanishedProducerEndsTheReceiver(t *testing.T) {
	url := natsURL(t)
	owner := open(t, Options{URLs: []string{url}}, quick())
	caller := open(t, Options{URLs: []string{url}}, quick())
	must(t, HandleStream(owner, flow, func(ctx context.Context, _ *want, send func([]byte) error) error {
		if err := send([]byte("x")); err != nil {
			return err
		}
		owner.nc.Close() // as if killed
		<-ctx.Done()
		return ctx.Err()
	}))
	defer within(t, 3*caller.tune.silence)()
	n := 0
	err := flow.Do(context.Background(), caller, nil, func([]byte) error { n++; return nil })
	if status(err) != 503 || n > 1 {
		t.Fatalf("got %v after %d", err, n)
	}
	owner.baseStop()
}

func TestQuietStreamLives(t *testing.T) {
	overNATS(t, quick(), func(t *testing.T, p pair) {
		must(t, HandleStream(p.owner, flow, func(ctx context.Context, _ *want, send func([]byte) error) error {
			select {
			case <-time.After(3 * p.owner.tune.silence):
			case <-ctx.Done():
				return ctx.Err()
			}
			return send([]byte("late"))
		}))
		var got []byte
		must(t, flow.Do(context.Background(), p.caller, nil, func(c []byte) error { got = append(got, c...); return nil }))
		if string(got) != "late" {
			t.Fatalf("got %q", got)
		}
	})
}

// TestDamagedStreamIsNeverComplete plays a sender whose messages NATS lost, repeated
// or reordered.
func TestDamagedStreamIsNeverComplete(t *testing.T) {
	chunk := func(n byte) []byte { return []byte{kindChunk, n, 'a' + n} }
	end := func(n byte) []byte { return []byte{kindEnd, n} }
	for name, c := range map[string]struct {
		messages [][]byte
		ok       bool
	}{
		"Whole":      {[][]byte{chunk(1), chunk(2), end(2)}, true},
		"Repeated":   {[][]byte{chunk(1), chunk(1), chunk(2), chunk(1), chunk(2), end(2)}, true},
		"Empty":      {[][]byte{end(0)}, true},
		"LostFirst":  {[][]byte{chunk(2), end(2)}, false},
		"LostMiddle": {[][]byte{chunk(1), chunk(3), end(3)}, false},
		"LostLast":   {[][]byte{chunk(1), end(2)}, false},
		"Reordered":  {[][]byte{chunk(2), chunk(1), end(2)}, false},
		"EarlyEnd":   {[][]byte{chunk(1), end(1), chunk(2)}, true},
		"NoNumber":   {[][]byte{{kindChunk}, end(0)}, false},
		"Overrun":    {[][]byte{chunk(1), chunk(2), chunk(3), chunk(4), chunk(5), chunk(6), chunk(7), chunk(8), chunk(9), chunk(10), chunk(11), chunk(12), end(12)}, false},
		"CallAnswer": {[][]byte{{kindOK, 'x'}}, false},
		"BadError":   {[][]byte{{kindError, 'x'}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, Options{}, defaults())
			n, p := b.calls.add(flow.Subject, b.tune.window+2)
			defer b.calls.remove(n)
			for _, m := range c.messages {
				must(t, b.publish(p.reply, "", m))
			}
			must(t, b.nc.Flush())
			eventually(t, "delivered", func() bool {
				b.calls.mu.Lock()
				defer b.calls.mu.Unlock()
				return p.final || len(p.ch) >= len(c.messages)
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var got []byte
			failed, _ := b.consume(ctx, p, func(c []byte) error { got = append(got, c...); return nil })
			if (failed == nil) != c.ok {
				t.Fatalf("got %q, %v", got, failed)
			}
			if failed != nil && failed.Status == 504 {
				t.Fatal("was not noticed")
			}
			if want := "bc"[:min(len(got), 2)]; string(got) != want && c.ok {
				t.Fatalf("got %q", got)
			}
		})
	}
}
