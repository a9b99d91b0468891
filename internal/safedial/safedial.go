// Package safedial connects to addresses that others choose: servers of a
// federation, pages to preview, push gateways. It refuses addresses of the inside.
//
// The check happens when the socket is about to connect, on the address that it
// connects to. A name may resolve to anything, and to something else the next time;
// what was resolved before does not matter.
package safedial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrDenied is in the chain of the error of a connection that was refused here.
var ErrDenied = errors.New("the address is in a network that this server may not connect to")

// timeout bounds one attempt to connect; the caller's context may be shorter.
const timeout = 15 * time.Second

// Dialer connects to what is allowed. It may be used by many goroutines.
type Dialer struct {
	deny, allow []netip.Prefix
	dialer      net.Dialer
}

// New returns a dialer that refuses addresses in deny unless they are in allow. A nil
// deny is [Default], an empty one refuses nothing. A prefix that is not valid is an
// error, as is one of IPv4 in IPv6 that is wider than IPv4.
func New(deny, allow []netip.Prefix) (*Dialer, error) {
	if deny == nil {
		deny = Default()
	}
	d := &Dialer{}
	var err error
	if d.deny, err = normal("deny", deny); err != nil {
		return nil, err
	}
	if d.allow, err = normal("allow", allow); err != nil {
		return nil, err
	}
	d.dialer = net.Dialer{Timeout: timeout, Control: d.control}
	return d, nil
}

// Parse reads networks such as 10.0.0.0/8, or addresses, which are networks of one.
func Parse(texts []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		if !strings.Contains(text, "/") {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is neither a network nor an address", text)
			}
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network: %w", text, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// normal writes IPv4 networks in the form ::ffff:a.b.c.d/n as IPv4.
func normal(what string, prefixes []netip.Prefix) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if !p.IsValid() {
			return nil, fmt.Errorf("%s: there is a network that is not valid", what)
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, fmt.Errorf("%s: %s is wider than all of IPv4", what, p)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// DialContext connects as [net.Dialer.DialContext] does, over TCP only.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dialer.DialContext(ctx, network, address)
}

// control runs for each socket, between its creation and connect.
func (d *Dialer) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", ErrDenied, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an address", ErrDenied, address)
	}
	if !d.Allows(to.Addr()) {
		return fmt.Errorf("%w: %s", ErrDenied, to.Addr())
	}
	return nil
}

// Allows reports whether the dialer would connect to an address. An IPv6 address
// that carries an IPv4 address is refused too if that one is.
func (d *Dialer) Allows(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if in(d.allow, addr) {
		return true
	}
	if in(d.deny, addr) {
		return false
	}
	return !slices.ContainsFunc(carried(addr), func(v4 netip.Addr) bool { return in(d.deny, v4) && !in(d.allow, v4) })
}

func in(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// carried lists the IPv4 addresses that packets to an IPv6 address may end at.
func carried(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case netip.MustParsePrefix("::/96").Contains(addr), // IPv4-compatible (RFC 4291, 2.5.5.1)
		netip.MustParsePrefix("64:ff9b::/96").Contains(addr): // NAT64 (RFC 6052)
		return []netip.Addr{at(12)}
	case netip.MustParsePrefix("64:ff9b:1::/48").Contains(addr): // local NAT64 (RFC 8215), prefixes of any length
		return []netip.Addr{at(12), netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}), at(9)}
	case netip.MustParsePrefix("2002::/16").Contains(addr): // 6to4 (RFC 3056)
		return []netip.Addr{at(2)}
	case netip.MustParsePrefix("2001::/32").Contains(addr): // Teredo (RFC 4380): the client's is inverted
		return []netip.Addr{at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP (RFC 5214)
		return []netip.Addr{at(12)}
	}
	return nil
}
