package transport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"hearth/internal/lru"
	"hearth/internal/pdu"
)

const (
	defaultPort      = "8448"
	maxSRV           = 4 // records that are tried
	srvTimeout       = 5 * time.Second
	srvLifetime      = 5 * time.Minute // the system's resolver does not tell one
	discoveryTimeout = wellKnownTimeout + 2*srvTimeout
	discoveryCache   = 10_000 // servers
)

// target is where the requests to a server go.
type target struct {
	// addresses are host:port, the best first; hosts are names or addresses.
	addresses []string
	// host is the Host header.
	host string
	// certificate is the name or address for which the server must have a certificate;
	// a name is also sent as SNI.
	certificate string
}

// pool names the connections that may serve the target.
func (t *target) pool() string {
	sum := sha256.Sum256([]byte(t.certificate + "\x00" + t.host + "\x00" + strings.Join(t.addresses, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// errNoService is what a SRV record "." says.
var errNoService = errors.New("its SRV record says that it does not federate")

// discovery resolves server names (server-server API, "Resolving server names").
type discovery struct {
	lookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	wellKnown *http.Client
	userAgent string
	now       func() time.Time
	delegates *lru.Cache[string, delegation]
	srv       *lru.Cache[string, located]
	flight    singleflight.Group
}

// delegation is what /.well-known said.
type delegation struct {
	name     string    // "": nothing that counts
	until    time.Time // ask again then
	keep     time.Time // if asking fails, name still holds until then
	failures int       // in a row
}

// located is what SRV said; no addresses: there are no records.
type located struct {
	addresses []string
	err       error
	until     time.Time
}

func newDiscovery(o Options) *discovery {
	return &discovery{
		lookupSRV: o.LookupSRV, wellKnown: wellKnownClient(o), userAgent: o.UserAgent, now: o.Now,
		delegates: lru.New[string, delegation](discoveryCache, nil), srv: lru.New[string, located](discoveryCache, nil),
	}
}

// resolve finds the target of a server name. Concurrent calls for one name share the
// work, which goes on if the first caller leaves.
func (d *discovery) resolve(ctx context.Context, server string) (*target, error) {
	host, port, err := pdu.ParseServerName(server)
	if err != nil {
		return nil, err
	}
	if t := direct(server, host, port); t != nil {
		return t, nil
	}
	result := d.flight.DoChan(server, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		return d.discover(ctx, host)
	})
	select {
	case r := <-result:
		t, _ := r.Val.(*target)
		return t, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// direct is the target of a name that needs no discovery (steps 1, 2, 3.1 and 3.2), nil
// for others.
func direct(server, host, port string) *target {
	bare := strings.Trim(host, "[]")
	_, err := netip.ParseAddr(bare)
	if err != nil && port == "" {
		return nil
	}
	if port == "" {
		port = defaultPort
	}
	return &target{addresses: []string{net.JoinHostPort(bare, port)}, host: server, certificate: bare}
}

// discover follows steps 3 to 6 for a host name.
func (d *discovery) discover(ctx context.Context, host string) (*target, error) {
	if name := d.delegate(ctx, host); name != "" {
		delegated, port, err := pdu.ParseServerName(name)
		if err != nil {
			return nil, err
		}
		if t := direct(name, delegated, port); t != nil {
			return t, nil
		}
		host = delegated
	}
	addresses, err := d.locate(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		addresses = []string{net.JoinHostPort(host, defaultPort)}
	}
	return &target{addresses: addresses, host: host, certificate: host}, nil
}

// delegate returns the name that speaks for a host, "" if none does.
func (d *discovery) delegate(ctx context.Context, host string) string {
	now := d.now()
	known, _ := d.delegates.Get(host)
	if now.Before(known.until) {
		return known.name
	}
	name, lifetime, err := d.fetchWellKnown(ctx, host)
	if err == nil {
		d.delegates.Put(host, delegation{name: name, until: now.Add(lifetime), keep: now.Add(maxLifetime)})
		return name
	}
	known.until = now.Add(min(firstBackOff<<min(known.failures, 16), maxBackOff))
	known.failures++
	if now.After(known.keep) {
		known.name = ""
	}
	d.delegates.Put(host, known)
	return known.name
}

// locate looks for SRV records, those of the registered service first.
func (d *discovery) locate(ctx context.Context, host string) ([]string, error) {
	now := d.now()
	if known, ok := d.srv.Get(host); ok && now.Before(known.until) {
		return known.addresses, known.err
	}
	found := located{until: now.Add(srvLifetime)}
	for _, service := range []string{"matrix-fed", "matrix"} {
		found.addresses, found.err = d.records(ctx, service, host)
		if len(found.addresses) > 0 || found.err != nil {
			break
		}
	}
	d.srv.Put(host, found)
	return found.addresses, found.err
}

// records returns the addresses of one service. That DNS does not answer is like no
// records: the certificate decides who may speak for the host.
func (d *discovery) records(ctx context.Context, service, host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, srvTimeout)
	defer cancel()
	_, records, _ := d.lookupSRV(ctx, service, "tcp", strings.TrimSuffix(host, ".")+".") // usable records come even with an error
	if len(records) == 1 && records[0].Target == "." {
		return nil, errNoService
	}
	var out []string
	for _, r := range records {
		name := strings.TrimSuffix(r.Target, ".")
		if name != "" && r.Port != 0 && len(out) < maxSRV {
			out = append(out, net.JoinHostPort(name, strconv.Itoa(int(r.Port))))
		}
	}
	return out, nil
}
