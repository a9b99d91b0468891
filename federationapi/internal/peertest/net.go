// Package peertest has servers for tests of the federation: scripted ones, that say what
// the test wants, in a network of their own.
package peertest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"hearth/internal/testkit/testca"
)

// Net is a network with names: what listens where, and what DNS says.
type Net struct {
	CA *testca.CA

	mu    sync.Mutex // guards what follows
	at    map[string]string
	srv   map[string][]*net.SRV
	dials []string
	asked []string
}

// NewNet returns an empty network.
func NewNet(t testing.TB) *Net {
	return &Net{CA: testca.New(t), at: map[string]string{}, srv: map[string][]*net.SRV{}}
}

// Place lets host:port lead to an address of this machine.
func (n *Net) Place(hostPort, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[hostPort] = address
}

// Remove takes what listens at host:port away.
func (n *Net) Remove(hostPort string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.at, hostPort)
}

// SRV sets the records of a name such as _matrix-fed._tcp.example.org.
func (n *Net) SRV(name string, records ...*net.SRV) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.srv[name+"."] = records
}

// Dial connects to what was placed; anything else refuses the connection.
func (n *Net) Dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, hostPort)
	address, ok := n.at[hostPort]
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("nothing listens at %s", hostPort)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// LookupSRV answers as [net.Resolver.LookupSRV] does.
func (n *Net) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	full := "_" + service + "._" + proto + "." + name
	n.asked = append(n.asked, full)
	records := n.srv[full]
	if records == nil {
		return "", nil, &net.DNSError{Err: "no such host", Name: full, IsNotFound: true}
	}
	return full, records, nil
}

// Dials lists where connections were tried, SRV which records were asked for.
func (n *Net) Dials() (dials, srv []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.dials...), append([]string{}, n.asked...)
}
