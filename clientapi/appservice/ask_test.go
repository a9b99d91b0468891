package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

// one runs a test on SQLite with a Service for a fake application service.
func one(t *testing.T, test func(f *fixture, service *fakeService, r *Registration)) {
	each(t, func(t *testing.T, f *fixture) {
		if f.e.Name != "sqlite" {
			return // the database has no part in it
		}
		service := newFakeService(t)
		r := registration(t, "one", service.URL, "@net_.*")
		r.Aliases = []Namespace{namespace(t, "#net_.*")}
		r.Protocols = []string{"irc"}
		f.start(fast(), r)
		test(f, service, r)
	})
}

func code(err error) string {
	if e := merr.From(err); e != nil {
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	return ""
}

func TestPing(t *testing.T) {
	one(t, func(f *fixture, service *fakeService, r *Registration) {
		if _, err := f.s.Ping(t.Context(), r, "meow"); err != nil {
			t.Error(err)
		}
		if _, err := f.s.Ping(t.Context(), r, ""); err != nil {
			t.Error(err)
		}
		want := arrival{"POST", "/_matrix/app/v1/ping", "", "Bearer hs-one", `{"transaction_id":"meow"}`}
		got := service.requests()
		if len(got) != 2 || got[0] != want || got[1].body != "{}" {
			t.Errorf("%+v", got)
		}
		service.set(func(arrival) (int, string) {
			return 403, `{"errcode":"M_FORBIDDEN"}` + "\xff" + strings.Repeat("x", 10_000)
		})
		_, err := f.s.Ping(t.Context(), r, "")
		e := merr.From(err)
		if code(err) != "502 M_BAD_STATUS" || e.Extra["status"] != 403 || len(fmt.Sprint(e.Extra["body"])) > maxShown+10 ||
			!strings.HasPrefix(fmt.Sprint(e.Extra["body"]), `{"errcode":"M_FORBIDDEN"}`) || !json.Valid(e.Body()) {
			t.Errorf("%s", e.Body())
		}
		if n := len(service.requests()); n != 3 {
			t.Errorf("%d requests: a ping is made once", n)
		}
		service.set(func(arrival) (int, string) { return 200, strings.Repeat("x", maxAnswer+1) })
		if _, err := f.s.Ping(t.Context(), r, ""); code(err) != "502 M_BAD_STATUS" {
			t.Error(err)
		}
		service.always(302)
		if _, err := f.s.Ping(t.Context(), r, ""); code(err) != "502 M_BAD_STATUS" {
			t.Error(err)
		}
		service.always(-1)
		if _, err := f.s.Ping(t.Context(), r, ""); code(err) != "502 M_CONNECTION_FAILED" || strings.Contains(err.Error(), "hs-one") {
			t.Error(err)
		}
		hold := make(chan struct{})
		defer close(hold)
		service.set(func(arrival) (int, string) { <-hold; return 200, "{}" })
		f.s.tune.query = 20 * time.Millisecond
		if _, err := f.s.Ping(t.Context(), r, ""); code(err) != "504 M_CONNECTION_TIMEOUT" {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.s.Ping(ctx, r, ""); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := f.s.Ping(t.Context(), registration(t, "silent", ""), ""); code(err) != "400 M_URL_NOT_SET" {
			t.Error(err)
		}
	})
}

func TestQueries(t *testing.T) {
	one(t, func(f *fixture, service *fakeService, r *Registration) {
		service.set(func(a arrival) (int, string) {
			if a.path == "/_matrix/app/v1/users/@net_yes:test" || a.path == "/_matrix/app/v1/rooms/%23net_yes:test" {
				return 200, "{}"
			}
			return 404, `{"errcode":"COM.EXAMPLE.NONE"}`
		})
		for _, c := range []struct {
			id       string
			yes      bool
			requests int
		}{
			{"@net_yes:test", true, 1}, {"@net_no/x:test", false, 1}, {"@net_no/x:test", false, 0}, {"@alice:test", false, 0},
			{"@net_yes:other", false, 0}, {"@one:test", false, 0}, {"#net_yes:test", true, 1}, {"#net_no:test", false, 1}, {"#x:test", false, 0},
		} {
			before := len(service.requests())
			ask := f.s.QueryUser
			if c.id[0] == '#' {
				ask = f.s.QueryAlias
			}
			yes, err := ask(t.Context(), c.id)
			if n := len(service.requests()) - before; yes != c.yes || err != nil || n != c.requests {
				t.Errorf("%s: %v %v with %d requests", c.id, yes, err, n)
			}
		}
		service.always(-1)
		if yes, err := f.s.QueryUser(t.Context(), "@net_maybe:test"); yes || code(err) != "408 M_UNKNOWN" {
			t.Errorf("%v %v", yes, err)
		}
		service.always(200)
		if yes, err := f.s.QueryUser(t.Context(), "@net_maybe:test"); !yes || err != nil {
			t.Errorf("a service that did not answer is not asked again: %v %v", yes, err)
		}
		var none *Service
		if yes, err := none.QueryUser(t.Context(), "@net_x:test"); yes || err != nil {
			t.Error("no services")
		}
	})
}

// A service that knows only the paths or the token of old is found out, and asked in
// that way for a time.
func TestOldServices(t *testing.T) {
	one(t, func(f *fixture, service *fakeService, r *Registration) {
		old := 0
		service.set(func(a arrival) (int, string) {
			if strings.HasPrefix(a.path, "/_matrix/app/v1") {
				return 404, "<html>Cannot PUT this"
			}
			old++
			return 200, "{}"
		})
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		service.await(t, "$1")
		f.rooms.append(event("!r:test", "@net_a:test", "$2"))
		service.await(t, "$1", "$2")
		if yes, err := f.s.QueryUser(t.Context(), "@net_x:test"); !yes || err != nil {
			t.Error(yes, err)
		}
		got := service.requests()
		if len(got) != 4 {
			t.Fatalf("%+v", got)
		}
		for i, prefix := range []string{"/_matrix/app/v1/transactions/", "/transactions/", "/transactions/", "/users/"} {
			if !strings.HasPrefix(got[i].path, prefix) || got[i].auth != "Bearer hs-one" || (got[i].query == "access_token=hs-one") != (i > 0) {
				t.Errorf("%+v, want %s", got[i], prefix)
			}
		}
	})
	one(t, func(f *fixture, service *fakeService, r *Registration) {
		service.set(func(a arrival) (int, string) {
			if a.query != "access_token=hs-one" {
				return 403, "{}"
			}
			return 200, "{}"
		})
		f.settle()
		f.rooms.append(event("!r:test", "@net_a:test", "$1"))
		service.await(t, "$1")
		f.rooms.append(event("!r:test", "@net_a:test", "$2"))
		service.await(t, "$1", "$2")
		if got := service.requests(); len(got) != 3 {
			t.Errorf("%+v", got)
		}
	})
}

const ircProtocol = `{"user_fields":["network","nickname"],"location_fields":["network","channel"],"icon":"mxc://a/b","field_types":{},
	"instances":[{"network_id":"libera","desc":"Libera","fields":{"network":"libera"},"more":1}],"extra":true}`

func TestThirdPartyProtocols(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		if f.e.Name != "sqlite" {
			return
		}
		a, b := newFakeService(t), newFakeService(t)
		one, two := registration(t, "one", a.URL), registration(t, "two", b.URL)
		one.Protocols, two.Protocols = []string{"irc", "broken", "x/y"}, []string{"irc", "away"}
		f.start(fast(), one, two)
		a.set(func(r arrival) (int, string) {
			switch r.path {
			case "/_matrix/app/v1/thirdparty/protocol/irc":
				return 200, ircProtocol
			case "/_matrix/app/v1/thirdparty/protocol/x%2Fy":
				return 200, `{"icon":"mxc://a/b"}`
			}
			return 200, `{"user_fields":5}`
		})
		b.set(func(r arrival) (int, string) {
			if strings.HasSuffix(r.path, "irc") {
				return 200, strings.ReplaceAll(ircProtocol, "ibera", "ibra")
			}
			return 404, `{"errcode":"M_NOT_FOUND"}`
		})
		all, err := json.Marshal(f.s.Protocols(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"irc":{"user_fields":["network","nickname"],"location_fields":["network","channel"],"icon":"mxc://a/b","field_types":{},` +
			`"instances":[{"desc":"Libera","fields":{"network":"libera"},"network_id":"libera","instance_id":"one|libera"},` +
			`{"desc":"Libra","fields":{"network":"libra"},"network_id":"libra","instance_id":"two|libra"}]},` +
			`"x/y":{"user_fields":[],"location_fields":[],"icon":"mxc://a/b","field_types":{},"instances":[]}}`
		if string(all) != want {
			t.Errorf("got  %s\nwant %s", all, want)
		}
		before := len(a.requests())
		if p, err := f.s.Protocol(t.Context(), "irc"); p == nil || err != nil || len(a.requests()) != before {
			t.Errorf("%v %v, %d requests", p, err, len(a.requests())-before)
		}
		for _, name := range []string{"broken", "away", "unknown"} {
			if p, err := f.s.Protocol(t.Context(), name); p != nil || code(err) != "404 M_NOT_FOUND" {
				t.Errorf("%s: %v %v", name, p, err)
			}
		}
		if len(f.s.protocols.known) > 4 {
			t.Errorf("names that clients send fill the memory: %v", f.s.protocols.known)
		}
		var none *Service
		if len(none.Protocols(t.Context())) != 0 {
			t.Error("no services")
		}
	})
}

func TestThirdPartyPlaces(t *testing.T) {
	one(t, func(f *fixture, service *fakeService, r *Registration) {
		location := `{"alias":"#net_a:test","protocol":"irc","fields":{"channel":"#a"}}`
		user := `{"userid":"@net_a:test","protocol":"irc","fields":{"nick":"a"}}`
		service.set(func(a arrival) (int, string) {
			if strings.HasPrefix(a.path, "/_matrix/app/v1/thirdparty/location") {
				return 200, `[` + location + `,{"alias":5},"x",{"alias":"#net_b:test","protocol":"irc","fields":[]}]`
			}
			return 200, `[` + user + `]`
		})
		fields := url.Values{"channel": {"#a"}, "access_token": {"of-the-client"}}
		got, err := f.s.Locations(t.Context(), "irc", fields)
		if err != nil || len(got) != 1 || !strings.Contains(string(got[0]), `"#net_a:test"`) {
			t.Errorf("%s %v", got, err)
		}
		last := func() arrival { return service.requests()[len(service.requests())-1] }
		if a := last(); a.path != "/_matrix/app/v1/thirdparty/location/irc" || a.query != "channel=%23a" {
			t.Errorf("%+v", a)
		}
		if got, err = f.s.Users(t.Context(), "irc", url.Values{"nick": {"a"}}); err != nil || len(got) != 1 {
			t.Errorf("%s %v", got, err)
		}
		if got, err = f.s.Locations(t.Context(), "", url.Values{"alias": {"#net_a:test"}}); err != nil || len(got) != 1 {
			t.Errorf("%s %v", got, err)
		}
		if a := last(); a.path != "/_matrix/app/v1/thirdparty/location" || a.query != "alias=%23net_a%3Atest" {
			t.Errorf("%+v", a)
		}
		if got, err = f.s.Users(t.Context(), "", url.Values{"userid": {"@net_a:test"}}); err != nil || len(got) != 1 {
			t.Errorf("%s %v", got, err)
		}
		before := len(service.requests())
		for _, ask := range []func() ([]json.RawMessage, error){
			func() ([]json.RawMessage, error) { return f.s.Users(t.Context(), "xmpp", nil) },
			func() ([]json.RawMessage, error) {
				return f.s.Users(t.Context(), "", url.Values{"userid": {"@alice:test"}})
			},
			func() ([]json.RawMessage, error) {
				return f.s.Locations(t.Context(), "", url.Values{"alias": {"#x:test"}})
			},
		} {
			if got, err := ask(); got != nil || code(err) != "404 M_NOT_FOUND" {
				t.Errorf("%s %v", got, err)
			}
		}
		if n := len(service.requests()); n != before {
			t.Errorf("it was asked about what is not its own")
		}
		for _, body := range []string{`[]`, `{}`, `nonsense`, `[{"alias":"#a:b","protocol":"irc","fields":{}}],"s":[1]`} {
			service.set(func(arrival) (int, string) { return 200, body })
			if got, err := f.s.Locations(t.Context(), "irc", nil); code(err) != "404 M_NOT_FOUND" {
				t.Errorf("%s: %s %v", body, got, err)
			}
		}
	})
}

func TestNetworkRooms(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		one, two := registration(t, "one", ""), registration(t, "two", "")
		f.start(fast(), one, two)
		set := func(r *Registration, network, room string, public bool) {
			t.Helper()
			if err := f.s.SetNetworkRoom(t.Context(), r, network, room, public); err != nil {
				t.Fatal(err)
			}
		}
		for _, room := range []string{"!a:test", "!b:test", "!c:test", "!a:test"} {
			set(one, "irc", room, true)
		}
		set(one, "irc", "!b:test", false)
		set(one, "xmpp", "!d:test", true)
		set(two, "irc", "!a:test", true)
		for _, c := range []struct {
			instance, after string
			limit           int
			want            []string
		}{
			{"one|irc", "", 10, []string{"!a:test", "!c:test"}},
			{"one|irc", "", 1, []string{"!a:test"}},
			{"one|irc", "!a:test", 10, []string{"!c:test"}},
			{"two|irc", "", 10, []string{"!a:test"}},
			{"two|xmpp", "", 10, nil},
			{"three|irc", "", 10, nil},
			{"", "", 10, []string{"!a:test", "!c:test", "!d:test"}},
		} {
			got, err := f.s.NetworkRooms(t.Context(), c.instance, c.after, c.limit)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%+v: %v %v", c, got, err)
			}
		}
		f.start(fast(), two)
		if got, err := f.s.NetworkRooms(t.Context(), "", "", 10); err != nil || !slices.Equal(got, []string{"!a:test"}) {
			t.Errorf("after a service is gone: %v %v", got, err)
		}
	})
}

// An answer must not lead to another address.
func TestNoRedirects(t *testing.T) {
	elsewhere := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere = true }))
	defer other.Close()
	service := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer service.Close()
	p := (&Service{tune: fast(), now: time.Now, log: quiet()}).newPeer(registration(t, "one", service.URL), 1)
	answer, err := p.ask(t.Context(), &request{method: "GET", path: "/x", timeout: time.Second})
	if err != nil || answer.status != 307 || elsewhere {
		t.Errorf("%+v %v, elsewhere %v", answer, err, elsewhere)
	}
}
