package transport

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/internal/pdu"
)

const ping = "/_matrix/federation/v1/version"

// clock is a clock that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClient(t *testing.T, n *peertest.Net) (*Client, *clock) {
	t.Helper()
	c := &clock{now: time.Now()}
	client := New(Options{
		Signer: pdu.Signer{ServerName: "we.example", KeyID: "ed25519:w", Key: ed25519.NewKeyFromSeed(make([]byte, 32))},
		Dial:   n.Dial, LookupSRV: n.LookupSRV, CAs: n.CA.Pool(), UserAgent: "Hearth/test", Now: c.Now,
	})
	t.Cleanup(client.Close)
	return client, c
}

func get(c *Client, server string) (string, error) {
	_, answer, err := c.Do(context.Background(), Request{Destination: server, Method: http.MethodGet, Path: ping, Timeout: 5 * time.Second})
	return string(answer), err
}

// cause is the whole text of an error, of which users see the first line only.
func cause(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestDiscovery goes through the steps of the specification.
func TestDiscovery(t *testing.T) {
	srv := func(host string, port uint16) *net.SRV { return &net.SRV{Target: host + ".", Port: port} }
	for _, tc := range []struct {
		name, server string
		wellKnown    string // what the name's web server says; "": there is none
		fed, old     []*net.SRV
		srvOf        string // whose records these are
		at           string // where the server is
		certificate  string
		host, sni    string // what it must see
	}{
		{name: "1 IPv4", server: "192.0.2.1", at: "192.0.2.1:8448", certificate: "192.0.2.1", host: "192.0.2.1"},
		{name: "1 IPv4 and port", server: "192.0.2.1:99", at: "192.0.2.1:99", certificate: "192.0.2.1", host: "192.0.2.1:99"},
		{name: "1 IPv6", server: "[2001:db8::1]", at: "[2001:db8::1]:8448", certificate: "2001:db8::1", host: "[2001:db8::1]"},
		{name: "1 IPv6 and port", server: "[2001:db8::1]:99", at: "[2001:db8::1]:99", certificate: "2001:db8::1", host: "[2001:db8::1]:99"},
		{name: "2 port", server: "a.example:99", wellKnown: `{"m.server":"wrong.example"}`, fed: []*net.SRV{srv("wrong.example", 1)},
			srvOf: "a.example", at: "a.example:99", certificate: "a.example", host: "a.example:99", sni: "a.example"},
		{name: "2 port of https", server: "a.example:443", at: "a.example:443", certificate: "a.example", host: "a.example:443", sni: "a.example"},
		{name: "3.1 delegated to IPv4", server: "a.example", wellKnown: `{"m.server":"192.0.2.1"}`,
			at: "192.0.2.1:8448", certificate: "192.0.2.1", host: "192.0.2.1"},
		{name: "3.1 delegated to IPv6 and port", server: "a.example", wellKnown: `{"m.server":"[2001:db8::1]:99"}`,
			at: "[2001:db8::1]:99", certificate: "2001:db8::1", host: "[2001:db8::1]:99"},
		{name: "3.2 delegated to a port", server: "a.example", wellKnown: `{"m.server":"b.example:99"}`, fed: []*net.SRV{srv("wrong.example", 1)},
			srvOf: "b.example", at: "b.example:99", certificate: "b.example", host: "b.example:99", sni: "b.example"},
		{name: "3.3 delegated, matrix-fed", server: "a.example", wellKnown: `{"m.server":"b.example"}`,
			fed: []*net.SRV{srv("c.example", 99)}, old: []*net.SRV{srv("wrong.example", 1)},
			srvOf: "b.example", at: "c.example:99", certificate: "b.example", host: "b.example", sni: "b.example"},
		{name: "3.4 delegated, matrix", server: "a.example", wellKnown: `{"m.server":"b.example"}`, old: []*net.SRV{srv("c.example", 99)},
			srvOf: "b.example", at: "c.example:99", certificate: "b.example", host: "b.example", sni: "b.example"},
		{name: "3.5 delegated, no records", server: "a.example", wellKnown: `{"m.server":"b.example"}`,
			at: "b.example:8448", certificate: "b.example", host: "b.example", sni: "b.example"},
		{name: "4 matrix-fed", server: "a.example", fed: []*net.SRV{srv("c.example", 99)}, old: []*net.SRV{srv("wrong.example", 1)},
			srvOf: "a.example", at: "c.example:99", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "4 the first record is down", server: "a.example", fed: []*net.SRV{srv("down.example", 99), srv("c.example", 99)},
			srvOf: "a.example", at: "c.example:99", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "5 matrix", server: "a.example", wellKnown: `no JSON`, old: []*net.SRV{srv("c.example", 99)},
			srvOf: "a.example", at: "c.example:99", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "6 nothing", server: "a.example", at: "a.example:8448", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "6 a name without a dot", server: "hearth1", at: "hearth1:8448", certificate: "hearth1", host: "hearth1", sni: "hearth1"},
		{name: "6 a port in well-known that is none", server: "a.example", wellKnown: `{"m.server":"b.example:port"}`,
			at: "a.example:8448", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "6 well-known of a wrong type", server: "a.example", wellKnown: `{"m.server":5}`,
			at: "a.example:8448", certificate: "a.example", host: "a.example", sni: "a.example"},
		{name: "6 well-known with a key twice", server: "a.example", wellKnown: `{"m.server":"b.example","m.server":"b.example"}`,
			at: "a.example:8448", certificate: "a.example", host: "a.example", sni: "a.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := peertest.NewNet(t)
			peer := peertest.New(t, n, tc.server, tc.at, tc.certificate)
			peer.Answer(ping, 200, `{"server":{}}`)
			if tc.wellKnown != "" {
				web := peertest.New(t, n, "", "a.example:443", "a.example")
				web.Answer("/.well-known/matrix/server", 200, tc.wellKnown)
			}
			if tc.fed != nil {
				n.SRV("_matrix-fed._tcp."+tc.srvOf, tc.fed...)
			}
			if tc.old != nil {
				n.SRV("_matrix._tcp."+tc.srvOf, tc.old...)
			}
			c, _ := newClient(t, n)
			answer, err := get(c, tc.server)
			if err != nil || answer != `{"server":{}}` {
				t.Fatalf("%s %v", answer, err)
			}
			if seen := peer.Last(); seen.Host != tc.host || seen.SNI != tc.sni || seen.Proto != "HTTP/2.0" {
				t.Errorf("the server saw host %q, SNI %q, %s; want %q, %q", seen.Host, seen.SNI, seen.Proto, tc.host, tc.sni)
			}
		})
	}
}

// TestCertificates: whoever has no certificate for the name that counts gets nothing.
func TestCertificates(t *testing.T) {
	for _, tc := range []struct{ name, server, at, certificate, delegate string }{
		{"another name", "a.example:99", "a.example:99", "b.example", ""},
		{"another address", "192.0.2.1", "192.0.2.1:8448", "192.0.2.2", ""},
		{"the target of SRV", "a.example", "srv.example:99", "srv.example", ""},
		{"delegated, with the name of who delegates", "a.example", "b.example:99", "a.example", "b.example:99"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := peertest.NewNet(t)
			peer := peertest.New(t, n, tc.server, tc.at, tc.certificate)
			n.SRV("_matrix-fed._tcp.a.example", &net.SRV{Target: "srv.example.", Port: 99})
			if tc.delegate != "" {
				web := peertest.New(t, n, "", "a.example:443", "a.example")
				web.Answer("/.well-known/matrix/server", 200, `{"m.server":"`+tc.delegate+`"}`)
			}
			c, _ := newClient(t, n)
			if _, err := get(c, tc.server); !strings.Contains(cause(err), "certificate") {
				t.Errorf("error %v", err)
			}
			if peer.Last() != nil {
				t.Error("it was sent a request")
			}
		})
	}
	n := peertest.NewNet(t)
	peertest.New(t, n, "a.example", "a.example:99", "a.example")
	n.CA = peertest.NewNet(t).CA // another authority
	c, _ := newClient(t, n)
	if _, err := get(c, "a.example:99"); !strings.Contains(cause(err), "unknown authority") {
		t.Errorf("error %v", err)
	}
}

func TestNoService(t *testing.T) {
	n := peertest.NewNet(t)
	peer := peertest.New(t, n, "a.example", "a.example:8448", "a.example")
	n.SRV("_matrix-fed._tcp.a.example", &net.SRV{Target: ".", Port: 0})
	c, _ := newClient(t, n)
	if _, err := get(c, "a.example"); !errors.Is(err, errNoService) || peer.Last() != nil {
		t.Errorf("error %v", err)
	}
}

// TestWellKnownRedirects: a few are followed, to https only.
func TestWellKnownRedirects(t *testing.T) {
	n := peertest.NewNet(t)
	peer := peertest.New(t, n, "b.example", "b.example:99", "b.example")
	peer.Answer(ping, 200, `{}`)
	for _, tc := range []struct {
		host, first string
		reaches     bool
	}{
		{"few.example", "/hop/4", true},
		{"many.example", "/hop/9", false},
		{"loop.example", "/.well-known/matrix/server", false},
		{"http.example", "http://http.example:443/hop/0", false},
		{"user.example", "https://a:b@user.example/hop/0", false},
	} {
		web := peertest.New(t, n, "", tc.host+":443", tc.host)
		web.Handle("/.well-known/matrix/server", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, tc.first, http.StatusFound)
		})
		for i := 1; i < 10; i++ {
			web.Handle(fmt.Sprintf("/hop/%d", i), func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, fmt.Sprintf("/hop/%d", i-1), http.StatusMovedPermanently)
			})
		}
		web.Answer("/hop/0", 200, `{"m.server":"b.example:99"}`)
		c, _ := newClient(t, n)
		if _, err := get(c, tc.host); (err == nil) != tc.reaches {
			t.Errorf("%s: %v", tc.host, err)
		}
		if asked := web.Requests("/.well-known/matrix/server"); asked > maxRedirects+1 {
			t.Errorf("%s was asked %d times", tc.host, asked)
		}
	}
}

// TestWellKnownTooLarge: a huge answer is cut and counts as none.
func TestWellKnownTooLarge(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		n := peertest.NewNet(t)
		web := peertest.New(t, n, "", "a.example:443", "a.example")
		sent := 0
		web.Handle("/.well-known/matrix/server", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			_, err := w.Write([]byte(`{"m.server":"b.example:99"`))
			for ; err == nil; sent++ {
				_, err = w.Write(make([]byte, 1<<20))
			}
		})
		peer := peertest.New(t, n, "", "a.example:8448", "a.example")
		peer.Answer(ping, 200, `{}`)
		c, _ := newClient(t, n)
		if _, err := get(c, "a.example"); err != nil {
			t.Error(err)
		}
	}
}

// TestWellKnownCache: answers and failures are remembered, each as long as it should be.
func TestWellKnownCache(t *testing.T) {
	n := peertest.NewNet(t)
	web := peertest.New(t, n, "", "a.example:443", "a.example")
	for _, name := range []string{"b.example", "c.example"} {
		peertest.New(t, n, name, name+":99", name).Answer(ping, 200, `{"is":"`+name+`"}`)
	}
	const path = "/.well-known/matrix/server"
	web.Handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=7200")
		fmt.Fprint(w, `{"m.server":"b.example:99"}`)
	})
	c, clock := newClient(t, n)
	expect := func(what, is string, requests int) {
		t.Helper()
		answer, err := get(c, "a.example")
		if err != nil && is != "" || !strings.Contains(answer, is) || web.Requests(path) != requests {
			t.Errorf("%s: %s %v after %d requests, want %s after %d", what, answer, err, web.Requests(path), is, requests)
		}
	}
	expect("first", "b.example", 1)
	clock.Add(119 * time.Minute)
	expect("cached", "b.example", 1)
	web.Answer(path, 500, "")
	clock.Add(2 * time.Minute)
	expect("the web server is down", "b.example", 2)
	expect("and not asked at once", "b.example", 2)
	clock.Add(61 * time.Second)
	expect("asked after a while", "b.example", 3)
	clock.Add(61 * time.Second)
	expect("but each time later", "b.example", 3)
	clock.Add(49 * time.Hour)
	expect("forgotten after two days", "", 4)
	web.Answer(path, 200, `{"m.server":"c.example:99"}`)
	clock.Add(time.Hour + time.Second)
	expect("up again", "c.example", 5)
	clock.Add(23 * time.Hour)
	expect("a day by itself", "c.example", 5)
	clock.Add(2 * time.Hour)
	expect("and no more", "c.example", 6)
}

func TestLifetime(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, value string
		want        time.Duration
	}{
		{"X", "", usualLifetime},
		{"Cache-Control", "max-age=3600", time.Hour},
		{"Cache-Control", `private, MAX-AGE="3600"`, time.Hour},
		{"Cache-Control", "max-age=0", minLifetime},
		{"Cache-Control", "no-store", minLifetime},
		{"Cache-Control", "max-age=99999999999999999999999", maxLifetime},
		{"Cache-Control", "max-age=2147483648", maxLifetime},
		{"Cache-Control", "max-age=-1", usualLifetime},
		{"Cache-Control", "max-age", usualLifetime},
		{"Expires", now.Add(2 * time.Hour).Format(http.TimeFormat), 2 * time.Hour},
		{"Expires", now.Add(-time.Hour).Format(http.TimeFormat), minLifetime},
		{"Expires", "0", minLifetime},
		{"Expires", now.AddDate(300, 0, 0).Format(http.TimeFormat), maxLifetime},
	} {
		if got := lifetimeOf(http.Header{tc.name: {tc.value}}, now); got != tc.want {
			t.Errorf("%s: %s: %v, want %v", tc.name, tc.value, got, tc.want)
		}
	}
}

// TestDiscoveryIsShared: many requests at once ask once.
func TestDiscoveryIsShared(t *testing.T) {
	n := peertest.NewNet(t)
	web := peertest.New(t, n, "", "a.example:443", "a.example")
	web.Answer("/.well-known/matrix/server", 200, `{"m.server":"b.example"}`)
	peertest.New(t, n, "b.example", "b.example:8448", "b.example").Answer(ping, 200, `{}`)
	c, _ := newClient(t, n)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := get(c, "a.example"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	dials, asked := n.Dials()
	connections := len(slices.DeleteFunc(dials, func(d string) bool { return d != "b.example:8448" }))
	if web.Requests("/.well-known/matrix/server") != 1 || len(asked) != 2 || connections > maxPerServer {
		t.Errorf("%d requests, asked for %q, %d connections", web.Requests("/.well-known/matrix/server"), asked, connections)
	}
}

// FuzzWellKnown: what is accepted is a server name.
func FuzzWellKnown(f *testing.F) {
	f.Add([]byte(`{"m.server":"b.example:99"}`))
	f.Add([]byte(`{"m.server":"[::1]"}`))
	f.Add([]byte(`{"m.server":"\u0061"} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		name, err := parseWellKnown(body)
		if err != nil {
			return
		}
		host, port, err := pdu.ParseServerName(name)
		if err != nil {
			t.Fatalf("%q", name)
		}
		if at := direct(name, host, port); at != nil {
			if _, _, err := net.SplitHostPort(at.addresses[0]); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
	})
}
