package encryption

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"hearth/internal/pdu"
	"hearth/test/harness"
)

// How many there are in the benchmark.
const (
	crowd         = 1000    // users
	eachHas       = 3       // devices
	queued        = 200_000 // messages for all of them
	claimedAtMost = 40      // keys of each first device
)

// crowded is a server with many users, whom an application service makes, since they
// need no passwords so.
type crowded struct {
	b      *testing.B
	server *harness.Server
	as     *harness.Client
}

func user(n int) string { return fmt.Sprintf("@crowd%d:localhost", n) }
func dev(n int) string  { return fmt.Sprintf("DEVICE%d", n) }

func newCrowd(b *testing.B, w harness.Wiring) *crowded {
	registration, err := json.Marshal(map[string]any{
		"id": "crowd", "url": nil, "as_token": "crowd", "hs_token": "crowd", "sender_localpart": "crowd", "rate_limited": false,
		"namespaces": map[string]any{"users": []any{map[string]any{"exclusive": true, "regex": "@crowd.*"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "crowd.yaml") // JSON is YAML
	if err := os.WriteFile(file, registration, 0o600); err != nil {
		b.Fatal(err)
	}
	s := harness.Start(b, harness.Options{Wiring: w, Config: func(m map[string]any) { m["appservices"] = []string{file} }})
	c := &crowded{b: b, server: s, as: s.Client()}
	c.as.Token = "crowd"
	c.all(crowd, func(n int) error {
		name := fmt.Sprintf("crowd%d", n)
		return c.do(http.MethodPost, "register", "", map[string]any{"type": "m.login.application_service", "username": name, "inhibit_login": true}, nil)
	})
	c.all(crowd*eachHas, func(n int) error { return c.device(n/eachHas, n%eachHas) })
	return c
}

// all runs something for 0 … n-1, some at the same time.
func (c *crowded) all(n int, f func(n int) error) {
	c.b.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	if err := group.Wait(); err != nil {
		c.b.Fatal(err)
	}
}

func (c *crowded) do(method, path, as string, body, out any) error {
	if _, err := c.as.Do(method, harness.Path()+"/"+path+as, body, out); err != nil {
		return err
	}
	return nil
}

// device makes a device with its keys; the first one of a user has one-time keys.
func (c *crowded) device(of, n int) error {
	as := "?user_id=" + url.QueryEscape(user(of))
	if err := c.do(http.MethodPut, "devices/"+dev(n), as, map[string]string{"display_name": "bench"}, nil); err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(fmt.Appendf(nil, "%032d", of*eachHas+n))
	public := base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	sign := func(v any) (json.RawMessage, error) {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		return pdu.SignJSON(raw, pdu.Signer{ServerName: user(of), KeyID: "ed25519:" + dev(n), Key: key})
	}
	keys, err := sign(map[string]any{
		"user_id": user(of), "device_id": dev(n), "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": map[string]string{"ed25519:" + dev(n): public, "curve25519:" + dev(n): public},
	})
	if err != nil {
		return err
	}
	oneTime := map[string]json.RawMessage{}
	for i := 0; n == 0 && i < claimedAtMost; i++ {
		if oneTime[fmt.Sprintf("signed_curve25519:K%03d", i)], err = sign(map[string]string{"key": public}); err != nil {
			return err
		}
	}
	return c.do(http.MethodPost, "keys/upload", as+"&device_id="+dev(n), map[string]any{"device_keys": keys, "one_time_keys": oneTime}, nil)
}

// BenchmarkCrowd measures whole requests: keys of 1,000 users with three devices each,
// a one-time key of each of 1,000 devices, and /sync while 200,000 messages wait.
func BenchmarkCrowd(b *testing.B) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		b.Run(w.String(), func(b *testing.B) {
			c := newCrowd(b, w)
			reader := c.server.Register(b, "reader")
			b.Run("query", func(b *testing.B) { c.query(b, reader) })
			b.Run("claim", func(b *testing.B) { c.claim(b, reader) })
			b.Run("sync", func(b *testing.B) { c.sync(b, reader) })
		})
	}
}

func (c *crowded) query(b *testing.B, reader *harness.Client) {
	users := map[string][]string{}
	for n := range crowd {
		users[user(n)] = []string{}
	}
	for b.Loop() {
		var a struct {
			Keys map[string]map[string]json.RawMessage `json:"device_keys"`
		}
		if _, err := reader.Do(http.MethodPost, harness.Path("keys", "query"), map[string]any{"device_keys": users}, &a); err != nil {
			b.Fatal(err)
		}
		if len(a.Keys) != crowd || len(a.Keys[user(7)]) != eachHas {
			b.Fatalf("%d users, %d devices", len(a.Keys), len(a.Keys[user(7)]))
		}
	}
}

func (c *crowded) claim(b *testing.B, reader *harness.Client) {
	claims := map[string]map[string]string{}
	for n := range crowd {
		claims[user(n)] = map[string]string{dev(0): "signed_curve25519"}
	}
	for left := claimedAtMost; b.Loop() && left > 0; left-- {
		var a struct {
			Keys map[string]json.RawMessage `json:"one_time_keys"`
		}
		if _, err := reader.Do(http.MethodPost, harness.Path("keys", "claim"), map[string]any{"one_time_keys": claims}, &a); err != nil {
			b.Fatal(err)
		}
		if len(a.Keys) != crowd {
			b.Fatalf("%d keys", len(a.Keys))
		}
	}
}

func (c *crowded) sync(b *testing.B, reader *harness.Client) {
	first, err := syncOnce(reader, "", 0)
	if err != nil {
		b.Fatal(err)
	}
	content := map[string]string{"ciphertext": fmt.Sprintf("%0200d", 0)}
	messages := map[string]map[string]any{reader.UserID: {"*": content}}
	for n := range crowd {
		messages[user(n)] = map[string]any{"*": content}
	}
	for n := range queued / crowd / eachHas {
		path := harness.Path("sendToDevice", "m.bench", fmt.Sprint(n))
		if _, err := reader.Do(http.MethodPut, path, map[string]any{"messages": messages}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		a, err := syncOnce(reader, first.NextBatch, 0) // so nothing is acknowledged
		if err != nil || len(a.ToDevice.Events) != queued/crowd/eachHas {
			b.Fatalf("%+v %v", a, err)
		}
	}
}
