package safedial

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func mustNew(t *testing.T, deny, allow []string) *Dialer {
	t.Helper()
	var denied []netip.Prefix
	if deny != nil {
		denied = mustParse(t, deny)
	}
	d, err := New(denied, mustParse(t, allow))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustParse(t *testing.T, texts []string) []netip.Prefix {
	t.Helper()
	out, err := Parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDefault(t *testing.T) {
	d := mustNew(t, nil, nil)
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
		"198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
		"::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::7f00:1",
		"100::1", "100:0:0:1::1", "2001::1", "2001:0:a00:1::1", "2001:2::1", "2001:10::1", "2001:20::1",
		"2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "3fff::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "fe80::5efe:a00:1",
		"2600::5efe:7f00:1", "2600::200:5efe:a00:1",
	} {
		if d.Allows(netip.MustParseAddr(text)) {
			t.Errorf("%s is allowed", text)
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
		"192.167.1.1", "223.255.255.255", "2600::1", "2a00:1450:4001::1", "2606:4700::1111", "2003::1", "2001:200::1",
	} {
		if !d.Allows(netip.MustParseAddr(text)) {
			t.Errorf("%s is refused", text)
		}
	}
	if d.Allows(netip.Addr{}) {
		t.Error("no address at all is allowed")
	}
}

// A network that an operator denies is denied in whatever form it is written.
func TestOwnNetworks(t *testing.T) {
	for _, own := range []string{"10.0.0.0/8", "::ffff:10.0.0.0/104"} {
		d := mustNew(t, []string{own}, nil)
		for _, text := range []string{
			"10.1.2.3", "::ffff:10.1.2.3", "::10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1",
			"2001:0:a01:203::1", "2001:0:808:808:0:0:f5fe:fdfc", "fe80::5efe:a01:203", "64:ff9b:1::a01:203",
			"64:ff9b:1:a01:2:300::", "64:ff9b:1:a:1:203::", "64:ff9b:1:0:a:102:300::",
		} {
			if d.Allows(netip.MustParseAddr(text)) {
				t.Errorf("deny %s: %s is allowed", own, text)
			}
		}
		for _, text := range []string{"11.0.0.1", "127.0.0.1", "64:ff9b::808:808", "2002:808:808::1"} {
			if !d.Allows(netip.MustParseAddr(text)) {
				t.Errorf("deny %s: %s is refused", own, text)
			}
		}
	}
}

func TestAllowWins(t *testing.T) {
	d := mustNew(t, nil, []string{"127.0.0.1", "fd00::/16"})
	for text, want := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "127.0.0.2": false, "fd00::1": true, "fd01::1": false,
		"64:ff9b::7f00:1": false, "::1": false,
	} {
		if d.Allows(netip.MustParseAddr(text)) != want {
			t.Errorf("%s: not %v", text, want)
		}
	}
	if d := mustNew(t, []string{}, nil); !d.Allows(netip.MustParseAddr("127.0.0.1")) {
		t.Error("an empty list denies something")
	}
}

func TestMalformedNetworks(t *testing.T) {
	for _, text := range []string{"", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "x", "fe80::1%eth0", "::/129", "10.0.0.0/-1", "10.0.0.0/8 "} {
		if got, err := Parse([]string{"10.0.0.0/8", text}); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 95)} {
		if _, err := New([]netip.Prefix{p}, nil); err == nil {
			t.Errorf("New takes %v", p)
		}
		if _, err := New(nil, []netip.Prefix{p}); err == nil {
			t.Errorf("New allows %v", p)
		}
	}
}

// TestDial connects to a server of this machine by every name that it has.
func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	connected := make(chan struct{}, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			connected <- struct{}{}
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	d := mustNew(t, nil, nil)
	for _, host := range []string{
		"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", "::ffff:0.0.0.0", "::", "::1", "127.1", "0x7f000001",
		"2130706433", "017700000001", "64:ff9b::7f00:1", "2002:7f00:1::",
	} {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
			t.Errorf("connected to %s", host)
			continue
		}
		if net.ParseIP(host) != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := d.DialContext(t.Context(), "udp", "8.8.8.8:53"); !errors.Is(err, ErrDenied) {
		t.Errorf("udp: %v", err)
	}
	if len(connected) != 0 {
		t.Errorf("%d connections arrived", len(connected))
	}
	allowing := mustNew(t, nil, []string{"127.0.0.0/8"})
	conn, err := allowing.DialContext(t.Context(), "tcp", net.JoinHostPort("::ffff:127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
