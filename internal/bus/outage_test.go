package bus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"hearth/internal/testkit/natsserver"
)

func TestFollowWaitsForAnOwnerThatIsNotThereOrFails(t *testing.T) {
	each(t, quick(), func(t *testing.T, p pair) {
		c := &checker{t: t}
		c.follow(p.caller)
		time.Sleep(100 * time.Millisecond)
		o := &owner{}
		o.commit("x")
		o.fail.Store(true)
		o.serve(t, p.owner)
		eventually(t, "failing reads", func() bool { return o.reads.Load() > 1 })
		if c.cursor.Load() != 0 {
			t.Fatal("applied something")
		}
		o.fail.Store(false)
		c.reaches(t, 1)
	})
}

func TestRestartOfNATSInTheMiddle(t *testing.T) {
	server := natsserver.Start(t)
	urls, tune := []string{server.URL()}, quick()
	tune.silence = time.Minute // not needed: the lost connection is enough
	owner, caller := open(t, Options{URLs: urls}, tune), open(t, Options{URLs: urls}, tune)
	o, c := newOwner(t, owner), &checker{t: t}
	must(t, Handle(owner, echo, func(ctx context.Context, a *ask) (*reply, error) {
		if a.N > 0 {
			<-ctx.Done()
		}
		return &reply{}, ctx.Err()
	}))
	c.follow(caller)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				o.append("x")
			}
		}
	})
	for range 3 {
		hanging := make(chan error, 1)
		go func() { _, err := echo.Do(context.Background(), caller, &ask{N: 1}); hanging <- err }()
		eventually(t, "call in progress", func() bool { return owner.active.Load() > 0 })
		server.Stop()
		done := within(t, time.Second)
		if err := <-hanging; status(err) != 503 {
			t.Fatalf("call in progress: %v", err)
		}
		if _, err := echo.Do(context.Background(), caller, &ask{}); status(err) != 503 {
			t.Fatalf("call without NATS: %v", err)
		}
		done()
		server.Restart()
		eventually(t, "calls work again", func() bool {
			_, err := echo.Do(context.Background(), caller, &ask{})
			return err == nil
		})
		now := o.head()
		eventually(t, "follower goes on", func() bool { return c.cursor.Load() > now })
	}
	close(stop)
	writer.Wait()
	c.reaches(t, o.head())
}

func TestKilledNATSProcessIsSurvived(t *testing.T) {
	server := natsserver.StartProcess(t)
	urls := []string{server.URL()}
	owner, caller := open(t, Options{URLs: urls}, defaults()), open(t, Options{URLs: urls}, defaults())
	o, c := newOwner(t, owner), &checker{t: t}
	c.follow(caller)
	o.append("x")
	c.reaches(t, 1)
	server.Kill()
	o.append("unheard")
	server.Restart()
	done := within(t, 3*time.Second)
	c.reaches(t, 2)
	done()
}

func TestConnectWaitsForTheServerUntilTheContextEnds(t *testing.T) {
	server := natsserver.Start(t)
	server.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	done := within(t, 3*time.Second)
	if _, err := Connect(ctx, Options{URLs: []string{server.URL()}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	done()
	result := make(chan error, 1)
	go func() {
		b, err := Connect(context.Background(), Options{URLs: []string{server.URL()}})
		if err == nil {
			b.Close()
		}
		result <- err
	}()
	time.Sleep(300 * time.Millisecond)
	server.Restart()
	must(t, <-result)
}
