package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The way down takes at most stopTime. The order matters: first nobody new comes
// in, then those inside finish, then the components end, and the bus, through which
// they talk, is the last.
const (
	stopTime    = 9500 * time.Millisecond
	requestTime = 6 * time.Second // of it for requests in progress
	pollTime    = time.Second     // of that for long-polls to get a whole answer
)

var errSlowStop = errors.New("could not stop in time; everything that was answered is on disk")

// stop ends the app gracefully.
func (a *app) stop() error {
	a.log.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	var all []error
	served := make(chan struct{})
	go func() {
		a.stopListeners(ctx)
		close(served)
	}()
	a.endPolls(served)
	<-served
	for _, p := range slices.Backward(a.parts) {
		if err := p.end(ctx); err != nil {
			all = append(all, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	if err := within(ctx, func() error { a.bus.Close(); return nil }); err != nil {
		all = append(all, fmt.Errorf("bus: %w", err))
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	a.log.Info("stopped")
	return nil
}

// endPolls ends long-polls, which would hold their listener for half a minute:
// syncapi answers those that it has, then clientapi refuses what is left.
func (a *app) endPolls(served <-chan struct{}) {
	end := func(name string) (found bool) {
		for _, p := range a.parts {
			if p.name == name {
				p.stop()
				found = true
			}
		}
		return found
	}
	if end("syncapi") {
		select {
		case <-served:
		case <-time.After(pollTime):
		}
	}
	end("clientapi")
}

// stopListeners stops accepting, waits for requests in progress, and cuts those
// that take too long.
func (a *app) stopListeners(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range a.listeners {
		l.gate.close()
		wg.Go(func() {
			if l.server.Shutdown(ctx) != nil {
				a.log.WithField("listener", l.name).Warn("cut requests that did not end in time")
				_ = l.server.Close()
			}
		})
	}
	wg.Wait()
}

// end ends a component and waits for it.
func (p *part) end(ctx context.Context) error {
	p.stop()
	var err error
	select {
	case err = <-p.done:
	case <-ctx.Done():
		return errSlowStop
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, within(ctx, p.Close))
}

// within waits for f as long as ctx lasts.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errSlowStop
	}
}
