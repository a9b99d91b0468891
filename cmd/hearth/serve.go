package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hearth/config"
)

const serveHelp = `Starts the server. Without --config it uses hearth.yaml in the data directory (./data)
and, if that is missing, makes it for trying things out on this machine.`

func serve(ctx context.Context, p *program, args []string) error {
	fs := p.flags("serve", "", serveHelp)
	path := fs.String("config", "", "the configuration")
	list := fs.String("components", strings.Join(componentNames(), ","), "what to run in this process")
	listenersFile := fs.String("listeners-file", "", "write the addresses of the listeners to this file (JSON) when all listen")
	if _, err := parseFlags(fs, args, 0); err != nil {
		return err
	}
	components, err := chosen(*list)
	if err != nil {
		return err
	}
	var c *config.Config
	var made *first
	if *path == "" {
		c, made, err = p.loadOrMake()
	} else {
		c, err = p.load(*path)
	}
	if err != nil {
		return err
	}
	if len(components) < len(componentNames()) && len(c.NATS.URLs) == 0 {
		return fmt.Errorf("nats.urls is empty: components in several processes need a NATS server to talk through")
	}
	out := &logOutput{out: p.stderr}
	defer out.Flush()
	log, err := newLog(c.Logging, out)
	if err != nil {
		return err
	}
	warn(c, log)
	a, err := newApp(ctx, options{
		config: c, first: made, components: components, listenersFile: *listenersFile, log: log,
		ready: func(a *app) { p.welcome(a, made) },
	})
	if err != nil {
		return err
	}
	return a.run(ctx)
}

func componentNames() []string {
	var names []string
	for _, b := range builders() {
		names = append(names, b.name)
	}
	return names
}

// chosen reads the list of components.
func chosen(list string) ([]string, error) {
	all := componentNames()
	var out []string
	for _, name := range strings.Split(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(all, name):
			return nil, usageError{fmt.Sprintf("there is no component %q; there are %s", name, strings.Join(all, ", "))}
		case slices.Contains(out, name):
			return nil, usageError{fmt.Sprintf("component %s is named twice", name)}
		}
		out = append(out, name)
	}
	return out, nil
}

// welcome tells a person what to do next, on the first start.
func (p *program) welcome(a *app, made *first) {
	if made == nil || !a.has("clientapi") {
		return
	}
	c := a.opts.config
	account := p.name + " user create --admin alice"
	if c.Registration.SharedSecret == "" {
		account = "set registration.shared_secret in " + made.path + ", start again, then " + account
	}
	fmt.Fprintf(p.stdout, `
Hearth is running for %s.

  Homeserver URL for your Matrix client   %s
  Make the first account                  %s
  Its configuration                       %s
  Its data (keep a copy)                  %s
  Stop it                                 Ctrl-C

`, c.ServerName, a.clientURL(), account, made.path, c.DataDir)
}
