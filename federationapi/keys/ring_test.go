package keys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store/storetest"
)

const (
	serverPath = "/_matrix/key/v2/server"
	queryPath  = "/_matrix/key/v2/query"
	them       = "a.example:99"
	notary     = "notary.example:99"
)

// scene is a ring, the server whose keys it wants, and a notary.
type scene struct {
	t            *testing.T
	net          *peertest.Net
	peer, notary *peertest.Peer
	db           *storage.DB
	options      Options
	ring         *Ring

	mu  sync.Mutex
	now time.Time
}

func newScene(t *testing.T) *scene {
	t.Helper()
	n := peertest.NewNet(t)
	s := &scene{t: t, net: n, now: time.UnixMilli(time.Now().UnixMilli()),
		peer:   peertest.New(t, n, them, them, "a.example"),
		notary: peertest.New(t, n, notary, notary, "notary.example"),
	}
	var err error
	if s.db, err = storage.Open(context.Background(), storetest.SQLite(t).Options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	own := peertest.Signer("we.example", "ed25519:w")
	client := transport.New(transport.Options{Signer: own, Dial: n.Dial, LookupSRV: n.LookupSRV, CAs: n.CA.Pool(), Now: s.Now})
	t.Cleanup(client.Close)
	s.options = Options{Own: own, Client: client, DB: s.db, Banned: []string{"ed25519:banned"}, Log: logrus.NewEntry(logrus.New()), Now: s.Now}
	s.ring = New(s.options)
	s.notary.Answer(serverPath, 200, string(peertest.Keys{Server: notary, ValidUntil: s.now.AddDate(1, 0, 0), Current: []pdu.Signer{peertest.Signer(notary, "ed25519:n")}}.JSON(t)))
	return s
}

func (s *scene) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scene) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// withNotary starts with an empty memory and the notary in the configuration.
func (s *scene) withNotary() {
	s.options.Notaries = []string{"we.example", them, notary}
	s.ring = New(s.options)
}

// says scripts what the server says of its keys.
func (s *scene) says(until time.Time, old map[string]peertest.OldKey, current ...string) {
	s.peer.Answer(serverPath, 200, string(s.keys(until, old, current...)))
}

func (s *scene) keys(until time.Time, old map[string]peertest.OldKey, current ...string) []byte {
	k := peertest.Keys{Server: them, ValidUntil: until, Old: old}
	for _, id := range current {
		k.Current = append(k.Current, peertest.Signer(them, id))
	}
	return k.JSON(s.t)
}

// notarySays scripts the notary with answers that it signs.
func (s *scene) notarySays(answers ...[]byte) {
	var list []json.RawMessage
	for _, a := range answers {
		signed, err := pdu.SignJSON(a, peertest.Signer(notary, "ed25519:n"))
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, signed)
	}
	body, err := json.Marshal(map[string]any{"server_keys": list})
	if err != nil {
		s.t.Fatal(err)
	}
	s.notary.Answer(queryPath, 200, string(body))
}

func public(id string) ed25519.PublicKey {
	return peertest.Signer(them, id).Key.Public().(ed25519.PublicKey)
}

// has checks that a key is valid at a time, or is not.
func (s *scene) has(what, id string, at time.Time, want bool) {
	s.t.Helper()
	key, err := s.ring.Key(context.Background(), them, id, at)
	if want && (err != nil || !bytes.Equal(key, public(id))) {
		s.t.Errorf("%s: %v", what, err)
	}
	var e *merr.Error
	if !want && (key != nil || !errors.As(err, &e) || e.Status != 401 || e.Code != "M_UNAUTHORIZED") {
		s.t.Errorf("%s: key %x, error %v", what, key, err)
	}
}

func (s *scene) asked(want int) {
	s.t.Helper()
	if n := s.peer.Requests(serverPath); n != want {
		s.t.Errorf("the server was asked %d times, want %d", n, want)
	}
}

// TestOneFetch: what is known is not asked for, however many want it; it outlives us.
func TestOneFetch(t *testing.T) {
	s := newScene(t)
	s.says(s.now.Add(time.Hour), nil, "ed25519:1")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { s.has("at once", "ed25519:1", s.Now(), true) })
	}
	wg.Wait()
	s.asked(1)
	s.ring = New(s.options)
	s.has("from the database", "ed25519:1", s.now, true)
	s.asked(1)
}

// TestValidity: valid_until_ts counts, at most a week of it.
func TestValidity(t *testing.T) {
	s := newScene(t)
	begin := s.now
	s.says(begin.Add(time.Hour), nil, "ed25519:1")
	s.has("now", "ed25519:1", begin, true)
	s.wait(time.Minute)
	s.has("later than valid_until_ts", "ed25519:1", begin.Add(time.Hour+time.Millisecond), false)
	s.asked(2)
	s.has("whenever, as in old room versions", "ed25519:1", time.Time{}, true)
	s.says(begin.AddDate(10, 0, 0), nil, "ed25519:1")
	s.wait(time.Minute)
	s.has("asked again", "ed25519:1", begin.Add(2*time.Hour), true)
	s.asked(3)
	s.has("in a week", "ed25519:1", s.now.Add(maxValidity), true)
	s.has("in more than a week", "ed25519:1", s.now.Add(maxValidity+time.Second), false)
	s.asked(3)
	s.wait(maxValidity + time.Minute)
	s.has("refreshed", "ed25519:1", s.now, true)
	s.asked(4)
	for version, want := range map[string]bool{"1": true, "4": true, "5": false, "12": false} {
		v, _ := pdu.Version(version)
		if at := At(v, begin.UnixMilli()); at.IsZero() != want {
			t.Errorf("version %s: %v", version, at)
		}
	}
}

// TestRotation: old keys hold for old events, and not for requests.
func TestRotation(t *testing.T) {
	s := newScene(t)
	begin := s.now
	s.says(begin.Add(24*time.Hour), nil, "ed25519:1", "ed25519:2")
	s.has("before", "ed25519:1", s.now, true)
	s.wait(time.Hour)
	expired := begin.Add(30 * time.Minute)
	s.says(s.now.Add(24*time.Hour), map[string]peertest.OldKey{
		"ed25519:1":     {Public: public("ed25519:1"), Expired: expired},
		"ed25519:short": {Public: public("ed25519:1")[:31], Expired: expired},
		"ed25519:empty": {Public: nil, Expired: expired},
		"ed25519:soon":  {Public: public("ed25519:soon"), Expired: s.now.Add(time.Hour)},
		"rsa:1":         {Public: public("ed25519:1"), Expired: expired},
	}, "ed25519:3")
	s.has("the new one", "ed25519:3", s.now, true)
	s.has("the old one, before it expired", "ed25519:1", expired, true)
	s.has("the old one, after it expired", "ed25519:1", expired.Add(time.Millisecond), false)
	s.has("one that is not listed any more, before", "ed25519:2", s.now, true)
	s.wait(time.Second)
	s.has("one that is not listed any more, now", "ed25519:2", s.now, false)
	s.has("an old one that expires in the future", "ed25519:soon", s.now, false)
	s.has("a short one", "ed25519:short", time.Time{}, false)
	s.has("an empty one", "ed25519:empty", time.Time{}, false)
	s.has("of another algorithm", "rsa:1", time.Time{}, false)
	s.asked(2)
}

// TestRefused: none of these is stored.
func TestRefused(t *testing.T) {
	s := newScene(t)
	good := s.keys(s.now.Add(time.Hour), nil, "ed25519:1")
	edit := func(change func(m map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "signatures")
		change(m)
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := pdu.SignJSON(body, peertest.Signer(them, "ed25519:1"))
		if err != nil {
			t.Fatal(err)
		}
		return string(signed)
	}
	key := func(m map[string]any) map[string]any {
		return m["verify_keys"].(map[string]any)["ed25519:1"].(map[string]any)
	}
	for name, body := range map[string]string{
		"another server's name":   edit(func(m map[string]any) { m["server_name"] = "b.example" }),
		"no server name":          edit(func(m map[string]any) { delete(m, "server_name") }),
		"no keys":                 edit(func(m map[string]any) { m["verify_keys"] = map[string]any{} }),
		"keys of a wrong type":    edit(func(m map[string]any) { m["verify_keys"] = []any{} }),
		"a short key":             edit(func(m map[string]any) { key(m)["key"] = "AAAA" }),
		"an empty key":            edit(func(m map[string]any) { key(m)["key"] = "" }),
		"a long key":              edit(func(m map[string]any) { key(m)["key"] = strings.Repeat("A", 50) }),
		"a key of a wrong type":   edit(func(m map[string]any) { key(m)["key"] = 5 }),
		"another key":             edit(func(m map[string]any) { key(m)["key"] = strings.Repeat("A", 43) }),
		"no validity":             edit(func(m map[string]any) { delete(m, "valid_until_ts") }),
		"a fraction as validity":  edit(func(m map[string]any) { m["valid_until_ts"] = 1.5 }),
		"a text as validity":      edit(func(m map[string]any) { m["valid_until_ts"] = "1" }),
		"a negative validity":     edit(func(m map[string]any) { m["valid_until_ts"] = -1 }),
		"signed for someone else": strings.Replace(string(good), `"signatures":{"`+them, `"signatures":{"b.example`, 1),
		"changed":                 strings.Replace(string(good), `"old_verify_keys":{}`, `"old_verify_keys":{"x":{}}`, 1),
		"not signed":              edit(func(m map[string]any) { key(m)["key"] = strings.Repeat("B", 42) + "A" }),
		"too many keys": edit(func(m map[string]any) {
			for i := range maxListed {
				m["verify_keys"].(map[string]any)[fmt.Sprint("ed25519:x", i)] = map[string]any{}
			}
		}),
		"too large":   edit(func(m map[string]any) { m["x"] = strings.Repeat("x", maxAnswer) }),
		"a key twice": strings.Replace(string(good), `{`, `{"server_name":"`+them+`",`, 1),
	} {
		s.peer.Answer(serverPath, 200, body)
		s.has(name, "ed25519:1", time.Time{}, false)
		if known, err := s.db.Get(context.Background(), them); err != nil || len(known.Keys) != 0 || known.Answer != nil {
			t.Errorf("%s: stored %+v %v", name, known, err)
		}
		s.wait(maxBackOff + time.Second)
	}
	s.peer.Answer(serverPath, 200, string(good))
	s.has("the good one", "ed25519:1", time.Time{}, true)
}

// TestNotAsked: names and keys that cannot be, keys that are banned, and our own.
func TestNotAsked(t *testing.T) {
	s := newScene(t)
	s.says(s.now.Add(time.Hour), nil, "ed25519:1", "ed25519:banned")
	s.has("banned", "ed25519:banned", s.now, false)
	s.has("no key id", "ed25519:a b", s.now, false)
	s.asked(0)
	for _, server := range []string{"", "a/../b", "a b", strings.Repeat("a", 300)} {
		if _, err := s.ring.Key(context.Background(), server, "ed25519:1", s.now); err == nil {
			t.Errorf("%q has a key", server)
		}
	}
	own := s.options.Own
	key, err := s.ring.Key(context.Background(), own.ServerName, own.KeyID, s.now)
	if err != nil || !bytes.Equal(key, own.Key.Public().(ed25519.PublicKey)) {
		t.Errorf("our key: %x %v", key, err)
	}
	if _, err := s.ring.Key(context.Background(), own.ServerName, "ed25519:other", s.now); err == nil {
		t.Error("we have a key that we have not")
	}
	if dials, _ := s.net.Dials(); len(dials) != 0 {
		t.Errorf("dials %q", dials)
	}
}

// TestBackOff: a server that fails is asked less and less, one that answers twice a
// minute at most.
func TestBackOff(t *testing.T) {
	s := newScene(t)
	s.peer.Answer(serverPath, 500, "")
	for range 3600 {
		_, err := s.ring.Key(context.Background(), them, "ed25519:1", s.now)
		if e := merr.From(err); err == nil || !e.Temporary {
			t.Fatalf("error %v", err)
		}
		s.wait(time.Second)
	}
	s.asked(9) // after 0, 1, 3, 7, 15, 25, 35, 45, 55 minutes (and a second each)
	s.says(s.now.Add(time.Hour), nil, "ed25519:1")
	s.wait(maxBackOff)
	s.has("up again", "ed25519:1", s.now, true)
	for i := range 60 {
		s.has("not there", fmt.Sprint("ed25519:x", i), s.now, false)
		s.wait(time.Second)
	}
	s.asked(9 + 2)
}

// TestNotary: if the server does not answer, a notary does.
func TestNotary(t *testing.T) {
	s := newScene(t)
	s.withNotary()
	s.peer.Answer(serverPath, 503, "")
	s.notarySays(s.keys(s.now.Add(-time.Hour), nil, "ed25519:0"), s.keys(s.now.Add(time.Hour), nil, "ed25519:1"))
	s.has("the newest", "ed25519:1", s.now, true)
	s.has("an older one", "ed25519:0", s.now.Add(-2*time.Hour), true)
	s.has("an older one now", "ed25519:0", s.now, false)
	if n := s.notary.Requests(queryPath); n != 1 {
		t.Errorf("the notary was asked %d times", n)
	}
	if got := string(s.notary.LastTo(queryPath).Body); got != `{"server_keys":{"`+them+`":{}}}` {
		t.Errorf("it was asked %s", got)
	}
	if answer, err := s.ring.Answer(context.Background(), them, s.now); answer != nil || err != nil {
		t.Errorf("we vouch for what another notary says: %s %v", answer, err)
	}
	s.says(s.now.Add(24*time.Hour), nil, "ed25519:1")
	s.wait(2 * time.Hour)
	s.has("the server is back", "ed25519:1", s.now, true)
	s.peer.Answer(serverPath, 503, "")
	s.wait(25 * time.Hour)
	s.notarySays(s.keys(s.now.Add(time.Hour), nil, "ed25519:1"))
	s.has("the server is gone again", "ed25519:1", s.now, true)
}

// TestNotaryIsNotTrustedMore: what it cannot prove counts for nothing, and it cannot
// contradict the server.
func TestNotaryIsNotTrustedMore(t *testing.T) {
	s := newScene(t)
	s.withNotary()
	s.peer.Answer(serverPath, 503, "")
	good := s.keys(s.now.Add(time.Hour), nil, "ed25519:1")
	foreign, err := pdu.SignJSON(good, peertest.Signer(notary, "ed25519:unknown"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := pdu.SignJSON(good, pdu.Signer{ServerName: notary, KeyID: "ed25519:n", Key: peertest.Signer("x", "y").Key})
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"not signed by the notary":  `{"server_keys":[` + string(good) + `]}`,
		"signed by an unknown key":  `{"server_keys":[` + string(foreign) + `]}`,
		"signed by a forged key":    `{"server_keys":[` + string(forged) + `]}`,
		"of a wrong type":           `{"server_keys":{}}`,
		"of wrong elements":         `{"server_keys":[1,null,"x",[],{}]}`,
		"nothing":                   `{}`,
		"too many elements":         `{"server_keys":[` + strings.Repeat(`{},`, 1000) + string(good) + `]}`,
		"an array instead of that":  `[]`,
		"more than we want to read": `{"server_keys":["` + strings.Repeat("x", maxNotary) + `"]}`,
	} {
		s.notary.Answer(queryPath, 200, body)
		s.has(name, "ed25519:1", s.now, false)
		s.wait(maxBackOff + time.Second)
	}
	s.notarySays(peertest.Keys{Server: "b.example", ValidUntil: s.now.Add(time.Hour), Current: []pdu.Signer{peertest.Signer("b.example", "ed25519:1")}}.JSON(t))
	s.has("another server's", "ed25519:1", s.now, false)
	s.notary.Answer(queryPath, 500, "")
	s.wait(maxBackOff + time.Second)
	s.has("the notary is down too", "ed25519:1", s.now, false)

	s.says(s.now.Add(time.Hour), map[string]peertest.OldKey{"ed25519:0": {Public: public("ed25519:0"), Expired: s.now.Add(-time.Hour)}}, "ed25519:1")
	s.wait(maxBackOff + time.Second)
	s.has("the server itself", "ed25519:1", s.now, true)
	wrong := peertest.Keys{Server: them, ValidUntil: s.now.AddDate(0, 0, 6), Current: []pdu.Signer{
		{ServerName: them, KeyID: "ed25519:1", Key: peertest.Signer("evil", "ed25519:1").Key}, peertest.Signer(them, "ed25519:0"),
	}}
	s.notarySays(wrong.JSON(t))
	s.peer.Answer(serverPath, 503, "")
	s.wait(2 * time.Hour)
	s.has("another key under a known id", "ed25519:1", s.now, false)
	s.has("the true one stays", "ed25519:1", time.Time{}, true)
	s.has("a key that has ended does not come back", "ed25519:0", s.now, false)
}

func TestBatch(t *testing.T) {
	s := newScene(t)
	s.says(s.now.Add(time.Hour), nil, "ed25519:1")
	var wants []Want
	for range 50 {
		wants = append(wants, Want{them, "ed25519:1", s.now}, Want{"down.example:1", "ed25519:1", s.now}, Want{"we.example", "ed25519:w", s.now})
	}
	for i, r := range s.ring.Keys(context.Background(), wants) {
		if (r.Err != nil) != (i%3 == 1) || i%3 == 0 && !bytes.Equal(r.Key, public("ed25519:1")) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	s.asked(1)
}

// TestAnswer: what others get from us as a notary is fresh if it can be.
func TestAnswer(t *testing.T) {
	s := newScene(t)
	expect := func(what string, until time.Time, validAt time.Time, requests int) {
		t.Helper()
		got, err := s.ring.Answer(context.Background(), them, validAt)
		if n, _ := pdu.GetInt(got, "valid_until_ts"); err != nil || n != until.UnixMilli() {
			t.Errorf("%s: %s %v", what, got, err)
		}
		s.asked(requests)
	}
	first := s.now.Add(time.Hour)
	s.says(first, nil, "ed25519:1")
	expect("first", first, s.now, 1)
	s.wait(29 * time.Minute)
	expect("cached for half of its life", first, s.now, 1)
	second := s.now.Add(time.Hour)
	s.says(second, nil, "ed25519:1")
	expect("not valid for long enough", second, first.Add(time.Minute), 2)
	s.wait(31 * time.Minute)
	s.peer.Answer(serverPath, 500, "")
	expect("the server is down", second, s.now, 3)
	s.wait(30 * 24 * time.Hour)
	expect("for long", second, s.now, 4)
	if _, err := s.ring.Answer(context.Background(), "a/b", s.now); err == nil {
		t.Error("a name that is none")
	}
}

// TestManyKeysAreBounded: a server that always has new keys does not fill the disk.
func TestManyKeysAreBounded(t *testing.T) {
	s := newScene(t)
	n := 0
	s.peer.Handle(serverPath, func(w http.ResponseWriter, _ *http.Request) {
		ids := make([]string, 50)
		for i := range ids {
			n++
			ids[i] = fmt.Sprint("ed25519:", n)
		}
		_, _ = w.Write(s.keys(s.Now().Add(time.Hour), nil, ids...))
	})
	for range 8 {
		s.has("of the last answer", fmt.Sprint("ed25519:", n+50), s.Now(), true)
		s.wait(time.Minute)
	}
	known, err := s.db.Get(context.Background(), them)
	if err != nil || len(known.Keys) != maxKept {
		t.Errorf("%d keys, %v", len(known.Keys), err)
	}
}
