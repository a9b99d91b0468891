package bus

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/merr"
)

type ask struct {
	Text string
	N    int
}

// reply has its own codec, ask is JSON.
type reply struct {
	Text  string
	N     int64
	Maybe *string
}

func (r *reply) AppendWire(buf []byte) []byte {
	e := NewEncoder(buf)
	e.String(r.Text)
	e.Int(r.N)
	e.OptString(r.Maybe)
	return e.Buffer()
}

func (r *reply) ParseWire(data []byte) error {
	d := NewDecoder(data)
	r.Text, r.N, r.Maybe = d.String(), d.Int(), d.OptString()
	return d.Err()
}

var echo = Call[ask, reply]{Subject: "test.echo", Timeout: 5 * time.Second}

func TestCallCarriesRequestAnswerTraceAndDeadline(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		var left atomic.Int64
		must(t, Handle(p.owner, echo, func(ctx context.Context, a *ask) (*reply, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return nil, errors.New("no deadline")
			}
			left.Store(int64(time.Until(deadline)))
			trace := Trace(ctx)
			return &reply{Text: a.Text, N: int64(-a.N), Maybe: &trace}, nil
		}))
		got, err := echo.Do(WithTrace(context.Background(), "tr-1"), p.caller, &ask{Text: "a\x00é", N: 7})
		must(t, err)
		if got.Text != "a\x00é" || got.N != -7 || got.Maybe == nil || *got.Maybe != "tr-1" {
			t.Fatalf("got %+v", got)
		}
		if d := time.Duration(left.Load()); d < 4*time.Second || d > 5*time.Second {
			t.Fatalf("handler had %v, want the call's timeout", d)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = echo.Do(ctx, p.caller, nil)
		must(t, err)
		if d := time.Duration(left.Load()); d > time.Second {
			t.Fatalf("handler had %v, want the caller's deadline", d)
		}
	})
}

func TestNoHandlerIsUnavailableAtOnce(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		defer within(t, time.Second)()
		_, err := echo.Do(context.Background(), p.caller, &ask{})
		if !errors.Is(err, merr.Unavailable("")) || status(err) != 503 {
			t.Fatalf("got %v", err)
		}
	})
}

func TestNilAnswerIsEmptyAnswer(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		must(t, Handle(p.owner, echo, func(context.Context, *ask) (*reply, error) { return nil, nil }))
		got, err := echo.Do(context.Background(), p.caller, nil)
		must(t, err)
		if *got != (reply{}) {
			t.Fatalf("got %+v", got)
		}
	})
}

// waiting handles echo with a handler that waits for the end of its context and
// reports when it began and how the context ended.
func waiting(t *testing.T, b *Bus) (began chan struct{}, over chan error) {
	t.Helper()
	began, over = make(chan struct{}, 8), make(chan error, 8)
	must(t, Handle(b, echo, func(ctx context.Context, _ *ask) (*reply, error) {
		began <- struct{}{}
		<-ctx.Done()
		over <- ctx.Err()
		return nil, ctx.Err()
	}))
	return began, over
}

func TestDeadlineEndsCallerAndHandler(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		_, over := waiting(t, p.owner)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		defer within(t, time.Second)()
		_, err := echo.Do(ctx, p.caller, &ask{})
		if status(err) != http.StatusGatewayTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		<-over
	})
}

func TestTimeoutOfTheCallBoundsContextsWithoutDeadline(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		_, over := waiting(t, p.owner)
		short := echo
		short.Timeout = 50 * time.Millisecond
		defer within(t, time.Second)()
		if _, err := short.Do(context.Background(), p.caller, &ask{}); status(err) != http.StatusGatewayTimeout {
			t.Fatalf("got %v", err)
		}
		<-over
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		began, over := waiting(t, p.owner)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-began; cancel() }()
		defer within(t, time.Second)()
		_, err := echo.Do(ctx, p.caller, &ask{})
		if !errors.Is(err, context.Canceled) || status(err) != 503 {
			t.Fatalf("got %v", err)
		}
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Fatalf("handler: %v", err)
		}
		_, err = echo.Do(ctx, p.caller, &ask{})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("ended context: got %v", err)
		}
	})
}

func TestCancelThatOvertakesItsRequestStillWorks(t *testing.T) {
	b := open(t, Options{}, quick())
	_, over := waiting(t, b)
	n, p := b.calls.add(echo.Subject, 1)
	defer b.calls.remove(n)
	b.cancelRemote(p)
	eventually(t, "cancellation noted", func() bool {
		b.flights.mu.Lock()
		defer b.flights.mu.Unlock()
		return len(b.flights.early) == 1
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	buf, failed := encodeRequest(ctx, b, echo.Subject, &ask{})
	if failed != nil {
		t.Fatal(failed)
	}
	defer within(t, time.Second)()
	if failed := b.send(p, buf.b); failed != nil {
		t.Fatal(failed)
	}
	<-over
}

func TestTooManyHandlersIsBusyAtOnce(t *testing.T) {
	tune := defaults()
	tune.handlers = 3
	each(t, tune, func(t *testing.T, p pair) {
		began, _ := waiting(t, p.owner)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range tune.handlers {
			wg.Go(func() { _, _ = echo.Do(ctx, p.caller, &ask{}) })
			<-began
		}
		done := within(t, time.Second)
		_, err := echo.Do(context.Background(), p.caller, &ask{})
		var e *merr.Error
		if !errors.As(err, &e) || e.Status != 503 || e.RetryAfter == 0 || !e.Temporary {
			t.Fatalf("got %v", err)
		}
		done()
		cancel()
		wg.Wait()
		eventually(t, "free again", func() bool { return p.owner.active.Load() == 0 })
		short, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer stop()
		if _, err := echo.Do(short, p.caller, &ask{}); status(err) != http.StatusGatewayTimeout {
			t.Fatalf("after the others ended: %v", err)
		}
	})
}

func TestContractMayLimitItsHandlers(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		limited := echo
		limited.Limit = 1
		began := make(chan struct{})
		must(t, Handle(p.owner, limited, func(ctx context.Context, _ *ask) (*reply, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = limited.Do(ctx, p.caller, &ask{}) })
		<-began
		if _, err := limited.Do(context.Background(), p.caller, &ask{}); status(err) != 503 {
			t.Errorf("second handler: %v", err)
		}
		cancel()
		wg.Wait()
	})
}

func TestTooLargeMessagesAreRefused(t *testing.T) {
	overNATS(t, defaults(), func(t *testing.T, p pair) {
		must(t, Handle(p.owner, echo, func(_ context.Context, a *ask) (*reply, error) {
			return &reply{Text: strings.Repeat("x", a.N)}, nil
		}))
		_, err := echo.Do(context.Background(), p.caller, &ask{Text: strings.Repeat("x", 1<<20)})
		if !errors.Is(err, merr.TooLarge("")) || !strings.Contains(err.Error(), "test.echo") {
			t.Fatalf("request: %v", err)
		}
		_, err = echo.Do(context.Background(), p.caller, &ask{N: 1 << 20})
		if status(err) != 500 {
			t.Fatalf("answer: %v", err)
		}
		got, err := echo.Do(context.Background(), p.caller, &ask{N: 1<<20 - 100})
		must(t, err)
		if len(got.Text) != 1<<20-100 {
			t.Fatalf("%d bytes", len(got.Text))
		}
	})
}

func TestSecondHandlerAndBadSubjectsAreRefused(t *testing.T) {
	b := open(t, Options{Local: true}, defaults())
	h := func(context.Context, *ask) (*reply, error) { return nil, nil }
	must(t, Handle(b, echo, h))
	if err := Handle(b, echo, h); err == nil {
		t.Fatal("a second handler was accepted")
	}
	if err := Handle(b, Call[ask, reply]{Subject: "a b"}, h); err == nil {
		t.Fatal("a subject with a space was accepted")
	}
	other := Call[reply, ask]{Subject: echo.Subject}
	if _, err := other.Do(context.Background(), b, nil); status(err) != 500 {
		t.Fatalf("other types: %v", err)
	}
}

func TestLongCallLivesAndDeadHandlerIsNoticed(t *testing.T) {
	overNATS(t, quick(), func(t *testing.T, p pair) {
		must(t, Handle(p.owner, echo, func(ctx context.Context, a *ask) (*reply, error) {
			select {
			case <-time.After(3 * p.owner.tune.silence):
			case <-ctx.Done():
			}
			return &reply{}, ctx.Err()
		}))
		_, err := echo.Do(context.Background(), p.caller, &ask{})
		must(t, err)
		// A process that listens but never shows life.
		sub, err := p.owner.nc.SubscribeSync(callSubject + "test.dead")
		must(t, err)
		defer func() { must(t, sub.Unsubscribe()) }()
		must(t, p.owner.nc.Flush())
		defer within(t, 3*p.caller.tune.silence)()
		_, err = Call[ask, reply]{Subject: "test.dead"}.Do(context.Background(), p.caller, &ask{})
		if status(err) != 503 {
			t.Fatalf("got %v", err)
		}
	})
}
