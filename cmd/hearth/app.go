package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/appservice"
	"hearth/config"
	"hearth/internal/bus"
	"hearth/internal/metrics"
	"hearth/internal/pdu"
)

// options say what to run.
type options struct {
	config *config.Config
	// first is written if it is not nil.
	first *first
	// components are names from builders().
	components []string
	// listenersFile, if not empty, receives the addresses when all listen.
	listenersFile string
	// ready, if not nil, is called when the server answers.
	ready func(a *app)
	log   *logrus.Logger
	now   func() time.Time
}

// component is a part of Hearth at work.
type component interface {
	// Run works until ctx ends or the part cannot go on.
	Run(ctx context.Context) error
	// Close puts everything on disk and lets go of it. It follows the end of Run.
	Close() error
}

// part is a component with its place in the app.
type part struct {
	component
	name string
	stop context.CancelFunc // ends Run
	done chan error         // receives the result of Run
}

// app is a whole Hearth process.
type app struct {
	opts      options
	log       *logrus.Entry
	metrics   *prometheus.Registry
	services  *appservice.Registrations
	dataDir   string // absolute
	bus       *bus.Bus
	key       pdu.Signer
	listeners []*listener
	handlers  map[string]http.Handler // by name of listener
	parts     []*part
	failed    chan error // what ends the app from inside; room for everybody
	begin     time.Time
}

// newApp checks everything that can be checked, binds the listeners, connects the
// bus, and only then writes what a first start writes and builds the components.
// An error leaves nothing running.
func newApp(ctx context.Context, o options) (*app, error) {
	if o.now == nil {
		o.now = systemClock()
	}
	a := &app{
		opts: o, log: logrus.NewEntry(o.log), metrics: metrics.New(version()),
		handlers: map[string]http.Handler{}, failed: make(chan error, 64), begin: time.Now(),
	}
	if err := a.prepare(ctx); err != nil {
		a.abandon()
		return nil, err
	}
	return a, nil
}

// prepare does the work of newApp.
func (a *app) prepare(ctx context.Context) error {
	c := a.opts.config
	if err := c.CheckFiles(); err != nil {
		return err
	}
	var err error
	if a.dataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if a.has("clientapi") {
		if a.services, err = readServices(c); err != nil {
			return err
		}
		for _, w := range a.services.Warnings {
			a.log.Warn(w)
		}
	}
	var key *config.SigningKey
	if a.signs() {
		if key, err = readKey(c); err != nil {
			return err
		}
	}
	if err := a.listen(); err != nil {
		return err
	}
	a.bus, err = bus.Connect(ctx, bus.Options{
		URLs: c.NATS.URLs, Local: c.Bus.Local, Name: "hearth " + c.ServerName,
		Log: a.log.WithField("component", "bus"), Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	if err := a.writeFirst(key); err != nil {
		return err
	}
	return a.build(ctx)
}

// writeFirst writes what a first start writes.
func (a *app) writeFirst(key *config.SigningKey) error {
	c := a.opts.config
	if a.opts.first != nil {
		if err := a.opts.first.write(); err != nil {
			return err
		}
	}
	if !a.signs() {
		return nil
	}
	if key == nil {
		var err error
		if key, err = config.MakeSigningKey(c.SigningKeyPath()); err != nil {
			return err
		}
		a.log.WithFields(logrus.Fields{"key": key.ID, "path": c.SigningKeyPath()}).Info("made a signing key")
	}
	a.key = pdu.Signer{ServerName: c.ServerName, KeyID: key.ID, Key: key.Key}
	return nil
}

// signs reports whether this process needs the signing key.
func (a *app) signs() bool { return a.has("roomserver") || a.has("federationapi") }

// has reports whether this process runs a component.
func (a *app) has(name string) bool { return slices.Contains(a.opts.components, name) }

// listen binds the listeners of the components that run here, and answers 503 on
// them.
func (a *app) listen() error {
	c := a.opts.config.Listeners
	for _, l := range []struct {
		name   string
		on     bool
		config config.Listener
	}{
		{"client", a.has("clientapi"), c.Client},
		{"admin", a.has("clientapi"), config.Listener{Address: c.Admin.Address}},
		{"federation", a.has("federationapi") && a.opts.config.Federation.Enabled, c.Federation},
		{"metrics", true, config.Listener{Address: c.Metrics.Address}},
	} {
		if !l.on || l.config.Address == "" {
			continue
		}
		bound, err := listen(l.name, l.config, a.log)
		if err != nil {
			return err
		}
		a.listeners = append(a.listeners, bound)
	}
	a.handlers["metrics"] = metrics.Handler(a.metrics)
	for _, l := range a.listeners {
		go func() {
			if err := l.serve(); err != nil {
				a.fail(err)
			}
		}()
	}
	return nil
}

// build makes the components.
func (a *app) build(ctx context.Context) error {
	for _, b := range builders() {
		if !a.has(b.name) {
			continue
		}
		c, err := b.build(ctx, a, a.log.WithField("component", b.name))
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		a.parts = append(a.parts, &part{component: c, name: b.name, done: make(chan error, 1)})
	}
	return nil
}

// fail ends the app.
func (a *app) fail(err error) {
	select {
	case a.failed <- err:
	default: // it is ending already
	}
}

// abandon undoes a start that failed.
func (a *app) abandon() {
	for _, l := range a.listeners {
		_ = l.server.Close() // nothing was served
	}
	for _, p := range slices.Backward(a.parts) {
		if err := p.Close(); err != nil {
			a.log.WithError(err).WithField("component", p.name).Error("close")
		}
	}
	if a.bus != nil {
		a.bus.Close()
	}
}

// run serves until ctx ends (the result is nil) or a part fails, then stops.
func (a *app) run(ctx context.Context) error {
	for _, p := range a.parts {
		a.start(p)
	}
	err := a.await(ctx)
	if err == nil && ctx.Err() == nil {
		err = a.open()
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-a.failed:
		}
	}
	if err != nil {
		a.log.WithError(err).Error("stopping, because a part failed")
	}
	return errors.Join(err, a.stop())
}

// await waits for the components that say when they are ready, as long as it takes:
// in several processes they wait for each other.
func (a *app) await(ctx context.Context) error {
	slow := time.NewTicker(10 * time.Second)
	defer slow.Stop()
	for _, p := range a.parts {
		r, ok := p.component.(interface{ Ready() <-chan struct{} })
		for ok {
			select {
			case <-r.Ready():
				ok = false
			case <-ctx.Done():
				return nil
			case err := <-a.failed:
				return err
			case <-slow.C:
				a.log.WithField("component", p.name).Warn("waits for the components that it needs")
			}
		}
	}
	return nil
}

// open lets requests in and tells about it.
func (a *app) open() error {
	for _, l := range a.listeners {
		l.gate.open(a.handlers[l.name])
		a.log.WithFields(logrus.Fields{"listener": l.name, "address": l.address(), "tls": l.secure}).Info("listening")
	}
	if a.opts.listenersFile != "" {
		if err := writeAddresses(a.opts.listenersFile, a.listeners); err != nil {
			return fmt.Errorf("write the addresses of the listeners: %w", err)
		}
	}
	a.log.WithFields(logrus.Fields{
		"server_name": a.opts.config.ServerName, "components": strings.Join(a.opts.components, ","),
		"version": version(), "ms": time.Since(a.begin).Milliseconds(),
	}).Info("ready")
	if a.opts.ready != nil {
		a.opts.ready(a)
	}
	return nil
}

// start runs a component and watches it.
func (a *app) start(p *part) {
	ctx, cancel := context.WithCancel(context.Background()) // ended by stop, in its turn
	p.stop = cancel
	go func() {
		err := p.Run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			a.fail(fmt.Errorf("%s: %w", p.name, err))
		}
		p.done <- err
	}()
	if l, ok := p.component.(interface{ Lost() <-chan struct{} }); ok {
		go func() {
			select {
			case <-l.Lost():
				a.fail(fmt.Errorf("%s: another process has taken over its database", p.name))
			case <-ctx.Done():
			}
		}()
	}
}

// address returns where a listener is, "" if it is off.
func (a *app) address(name string) string {
	for _, l := range a.listeners {
		if l.name == name {
			return l.address()
		}
	}
	return ""
}
