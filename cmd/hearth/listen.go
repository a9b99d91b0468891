package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/config"
)

// Limits of every listener.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	maxConnections    = 16_384 // open at the same time; more wait
)

// listener is one address with the server behind it. It is bound before anything
// is written and answers 503 until its handler is there.
type listener struct {
	name   string
	net    net.Listener
	gate   *gate
	server *http.Server
	secure bool
}

// listen binds an address.
func listen(name string, c config.Listener, log *logrus.Entry) (*listener, error) {
	secret, err := c.TLS()
	if err != nil {
		return nil, fmt.Errorf("listeners.%s: %w", name, err)
	}
	ln, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, listenError(name, c.Address, err)
	}
	l := &listener{name: name, net: newLimited(ln, maxConnections), gate: &gate{}, secure: secret != nil}
	l.server = &http.Server{
		Handler:           l.gate,
		TLSConfig:         secret,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Bodies and answers have their own deadlines, by route: a long-poll waits.
		ErrorLog: serverLog(log.WithField("listener", name)),
	}
	return l, nil
}

// listenError says what to do.
func listenError(name, address string, err error) error {
	key := "listeners." + name + ".address"
	variable := "HEARTH_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use; is Hearth running already? If another program has it, choose another address there or in %s",
			key, address, variable)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: this user may not listen on %s; choose a port above 1023", key, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %s is not an address of this machine", key, address)
	default:
		return fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
	}
}

// serve accepts until the server is shut down.
func (l *listener) serve() error {
	var err error
	if l.secure {
		err = l.server.ServeTLS(l.net, "", "")
	} else {
		err = l.server.Serve(l.net)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("listener %s: %w", l.name, err)
}

func (l *listener) address() string { return l.net.Addr().String() }

// logWriter takes what net/http complains about. Any client can cause it, so it is
// for debugging only.
type logWriter struct{ log *logrus.Entry }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}

// limited is a net.Listener with a bound on open connections.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimited(l net.Listener, n int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept waits for a free slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends Accept.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	free func()
}

// Close frees the slot.
func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// loopback reports whether an address is off or reachable from this machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// writeAddresses tells other programs, such as tests that asked for port 0, where
// the listeners are. They see the whole file or none.
func writeAddresses(path string, listeners []*listener) error {
	addresses := map[string]string{}
	for _, l := range listeners {
		addresses[l.name] = l.address()
	}
	body, err := json.Marshal(addresses)
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, append(body, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
