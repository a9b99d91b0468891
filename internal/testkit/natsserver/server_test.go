package natsserver_test

import (
	"net"
	"strings"
	"testing"

	"hearth/internal/testkit/natsserver"
)

type restarter interface {
	URL() string
	Restart()
}

func TestServersListenOnTheSamePortUntilStopped(t *testing.T) {
	inside, outside := natsserver.Start(t), natsserver.StartProcess(t)
	for name, c := range map[string]struct {
		server restarter
		stop   func()
	}{"process": {outside, outside.Kill}, "inside": {inside, inside.Stop}} {
		t.Run(name, func(t *testing.T) {
			url := c.server.URL()
			greets(t, url)
			c.stop()
			if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://")); err == nil {
				conn.Close()
				t.Fatal("still listens after stop")
			}
			c.server.Restart()
			if c.server.URL() != url {
				t.Fatalf("moved from %s to %s", url, c.server.URL())
			}
			greets(t, url)
			c.server.Restart()
			greets(t, url)
		})
	}
}

func greets(t *testing.T, url string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info := make([]byte, 5)
	if _, err := conn.Read(info); err != nil || string(info) != "INFO " {
		t.Fatalf("read %q, %v", info, err)
	}
}
