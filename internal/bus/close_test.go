package bus

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"hearth/internal/testkit/natsserver"
)

func TestVanishedCallerEndsTheHandler(t *testing.T) {
	url, tune := natsURL(t), quick()
	tune.silence = time.Minute // not needed: nobody listens any more
	owner := open(t, Options{URLs: []string{url}}, tune)
	caller := open(t, Options{URLs: []string{url}}, tune)
	began, over := waiting(t, owner)
	go func() { _, _ = echo.Do(context.Background(), caller, &ask{}) }()
	<-began
	caller.nc.Close() // as if killed: no cancellation is sent
	defer within(t, time.Second)()
	<-over
}

func TestCloseLetsHandlersFinish(t *testing.T) {
	url := natsURL(t)
	owner := open(t, Options{URLs: []string{url}}, quick())
	caller := open(t, Options{URLs: []string{url}}, quick())
	began := make(chan struct{})
	must(t, Handle(owner, echo, func(ctx context.Context, _ *ask) (*reply, error) {
		close(began)
		time.Sleep(300 * time.Millisecond)
		return &reply{Text: "done"}, ctx.Err()
	}))
	result := make(chan error, 1)
	go func() {
		got, err := echo.Do(context.Background(), caller, &ask{})
		if err == nil && got.Text != "done" {
			err = fmt.Errorf("got %+v", got)
		}
		result <- err
	}()
	<-began
	owner.Close()
	must(t, <-result)
	if _, err := echo.Do(context.Background(), caller, &ask{}); status(err) != 503 {
		t.Fatalf("after close: %v", err)
	}
	if _, err := echo.Do(context.Background(), owner, &ask{}); status(err) != 503 {
		t.Fatalf("on the closed bus: %v", err)
	}
	if err := Handle(owner, Call[ask, reply]{Subject: "late"}, func(context.Context, *ask) (*reply, error) { return nil, nil }); err == nil {
		t.Fatal("a closed bus took a handler")
	}
	owner.Close()
}

func TestCloseEndsStubbornHandlersAfterGrace(t *testing.T) {
	tune := quick()
	tune.grace = 100 * time.Millisecond
	overNATS(t, tune, func(t *testing.T, p pair) {
		began, over := waiting(t, p.owner)
		result := make(chan error, 1)
		go func() { _, err := echo.Do(context.Background(), p.caller, &ask{}); result <- err }()
		<-began
		defer within(t, 2*time.Second)()
		p.owner.Close()
		<-over
		if err := <-result; status(err) != 503 {
			t.Fatalf("got %v", err)
		}
	})
}

func TestCloseWithoutNATSIsQuick(t *testing.T) {
	server := natsserver.Start(t)
	b := open(t, Options{URLs: []string{server.URL()}}, quick())
	must(t, Handle(b, echo, func(context.Context, *ask) (*reply, error) { return nil, nil }))
	server.Stop()
	defer within(t, time.Second)()
	b.Close()
}

func TestEmbeddedServerEndsWithItsBus(t *testing.T) {
	before := runtime.NumGoroutine()
	b, err := Connect(context.Background(), Options{Local: true})
	must(t, err)
	newOwner(t, b)
	b.Close()
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}
