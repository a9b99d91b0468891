// Package federation lets whole servers talk with each other.
package federation

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"hearth/config"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/testkit/testca"
	"hearth/test/harness"
)

// neighbour is a server that others can reach.
type neighbour struct {
	*harness.Server
	name     string
	listener string // address for other servers
	key      pdu.Signer
}

// start starts a server whose name is a host of this machine with the port of its
// federation listener.
func start(t *testing.T, ca *testca.CA, w harness.Wiring, host string) *neighbour {
	t.Helper()
	return startAs(t, ca, w, host, "")
}

// startAs is start with a server name; empty: that of the listener.
func startAs(t *testing.T, ca *testca.CA, w harness.Wiring, host, name string) *neighbour {
	t.Helper()
	n := &neighbour{}
	caFile, cert, key := ca.Files(t.TempDir(), "localhost", "127.0.0.1")
	n.Server = harness.Start(t, harness.Options{Wiring: w, Config: func(m map[string]any) {
		listener := m["listeners"].(map[string]any)["federation"].(map[string]any)
		listener["tls_cert"], listener["tls_key"] = cert, key
		_, port, err := net.SplitHostPort(listener["address"].(string))
		if err != nil {
			t.Fatal(err)
		}
		n.listener = listener["address"].(string)
		if n.name = name; name == "" {
			n.name = net.JoinHostPort(host, port)
		}
		m["server_name"] = n.name
		m["federation"] = map[string]any{"ca_file": caFile, "retry_first": "1s", "retry_longest": "3s"}
		m["outbound"] = map[string]any{"allow_networks": []string{"127.0.0.0/8", "::1"}}
	}})
	own, err := config.ReadSigningKey(filepath.Join(n.Dir, "data", "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	n.key = pdu.Signer{ServerName: n.name, KeyID: own.ID, Key: own.Key}
	return n
}

// as returns a client that speaks for a server.
func as(t *testing.T, ca *testca.CA, s pdu.Signer) *transport.Client {
	c := transport.New(transport.Options{Signer: s, Dial: new(net.Dialer).DialContext, CAs: ca.Pool(), UserAgent: "test", Now: time.Now})
	t.Cleanup(c.Close)
	return c
}

// vouched asks a server as a notary for the keys of another one, and checks who signed.
func vouched(t *testing.T, c *transport.Client, notary, of *neighbour) {
	t.Helper()
	_, answer, err := c.Do(context.Background(), transport.Request{
		Destination: notary.name, Method: http.MethodGet, Path: "/_matrix/key/v2/query/" + url.PathEscape(of.name), Unsigned: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Keys []json.RawMessage `json:"server_keys"`
	}
	if err := json.Unmarshal(answer, &list); err != nil || len(list.Keys) != 1 {
		t.Fatalf("%s said of %s: %s %v", notary.name, of.name, answer, err)
	}
	for _, s := range []pdu.Signer{notary.key, of.key} {
		if err := pdu.VerifyJSON(list.Keys[0], s.ServerName, s.KeyID, s.Key.Public().(ed25519.PublicKey)); err != nil {
			t.Error(err)
		}
	}
}

// TestKeys: two servers learn each other's keys, know them when the other is gone, and
// know who sends a request by them.
func TestKeys(t *testing.T) {
	ca := testca.New(t)
	a := start(t, ca, harness.OneProcess, "127.0.0.1")
	b := start(t, ca, harness.FourProcesses, "localhost")
	stranger := as(t, ca, pdu.Signer{ServerName: "stranger.example"})
	vouched(t, stranger, a, b)
	vouched(t, stranger, b, a)

	alice := b.Register(t, "alice")
	profile := func(s pdu.Signer) (int, error) {
		status, _, err := as(t, ca, s).Do(context.Background(), transport.Request{
			Destination: b.name, Method: http.MethodGet, Path: "/_matrix/federation/v1/query/profile", Query: url.Values{"user_id": {alice.UserID}},
		})
		return status, err
	}
	if status, err := profile(a.key); status != http.StatusOK || err != nil {
		t.Errorf("a server asks: %d %v", status, err)
	}
	forged := a.key
	forged.Key = b.key.Key
	if status, err := profile(forged); status != http.StatusUnauthorized || merr.From(err).Status != http.StatusBadGateway {
		t.Errorf("with another key: %d %v", status, err)
	}

	b.Stop()
	vouched(t, stranger, a, b)
	a.Process("hearth").Restart()
	vouched(t, stranger, a, b)
}
