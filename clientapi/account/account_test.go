package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// house is a user store on a bus.
type house struct {
	*Store
	t   *testing.T
	bus *bus.Bus
	o   store.Options
	ctx context.Context
}

// each runs a test on both engines; on one with direct calls and on the other over NATS.
func each(t *testing.T, test func(h *house)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		h := &house{t: t, o: e.Options}
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		t.Cleanup(cancel)
		h.ctx = ctx
		h.open(e.Name == "sqlite")
		t.Cleanup(h.shut)
		test(h)
	})
}

func (h *house) open(local bool) {
	h.t.Helper()
	b, err := bus.Connect(h.ctx, bus.Options{Local: local})
	if err != nil {
		h.t.Fatal(err)
	}
	h.bus = b
	h.Store, err = New(h.ctx, Deps{
		Bus: b, ServerName: "test", DataDir: h.o.DataDir, DatabaseURL: h.o.URL, Log: h.o.Log,
		Now: time.Now, MinPasswordLength: 8,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) shut() {
	h.bus.Close()
	if err := h.Close(); err != nil {
		h.t.Error(err)
	}
}

// call does a call that must succeed.
func call[Req, Resp any](h *house, c bus.Call[Req, Resp], req Req) *Resp {
	h.t.Helper()
	resp, err := c.Do(h.ctx, h.bus, &req)
	if err != nil {
		h.t.Fatalf("%s: %v", c.Subject, err)
	}
	return resp
}

// refused does a call that must fail with an errcode.
func refused[Req, Resp any](h *house, code string, c bus.Call[Req, Resp], req Req) {
	h.t.Helper()
	resp, err := c.Do(h.ctx, h.bus, &req)
	if e := merr.From(err); e == nil || e.Code != code {
		h.t.Errorf("%s: %+v, %v, want %s", c.Subject, resp, err, code)
	}
}

const password = "correct horse"

func (h *house) user(name string) *userapi.Session {
	h.t.Helper()
	return call(h, userapi.Register, userapi.RegisterRequest{Username: name, Password: password})
}

func (h *house) whose(token string) (*userapi.Identity, error) {
	return userapi.Authenticate.Do(h.ctx, h.bus, &userapi.AuthenticateRequest{Token: Hash(token)})
}

func (h *house) mustBe(token string, valid bool) {
	h.t.Helper()
	id, err := h.whose(token)
	if valid && err != nil || !valid && !errors.Is(err, merr.UnknownToken(false)) {
		h.t.Errorf("token: %v %v, want valid=%v", id, err, valid)
	}
}

func TestRegister(t *testing.T) {
	each(t, func(h *house) {
		alice := call(h, userapi.Register, userapi.RegisterRequest{
			Username: "Alice", Password: password, DeviceID: "PHONE", DeviceDisplayName: "my\x00phone", Admin: true,
		})
		if alice.UserID != "@alice:test" || alice.DeviceID != "PHONE" || len(alice.Token) < 43 {
			t := h.t
			t.Fatalf("%+v", alice)
		}
		id, err := h.whose(alice.Token)
		if err != nil || *id != (userapi.Identity{
			UserID: "@alice:test", DeviceID: "PHONE", Admin: true, Restrictions: userapi.Restrictions{Role: userapi.RoleAdmin},
		}) {
			h.t.Errorf("%+v %v", id, err)
		}
		if d := call(h, userapi.GetDevice, userapi.DeviceRequest{UserID: "@alice:test", DeviceID: "PHONE"}); d.DisplayName != "myphone" {
			h.t.Errorf("%+v", d)
		}
		p := call(h, userapi.GetProfile, userapi.UserRequest{UserID: "@alice:test"})
		if string(p.Fields["displayname"]) != `"alice"` {
			h.t.Errorf("profile %s", p.Fields)
		}
		refused(h, "M_USER_IN_USE", userapi.Register, userapi.RegisterRequest{Username: "alice", Password: password})
		refused(h, "M_USER_IN_USE", userapi.CheckUsername, userapi.UsernameRequest{Username: "ALICE"})
		call(h, userapi.CheckUsername, userapi.UsernameRequest{Username: "bob+1/2=_-."})
		for _, name := range []string{"a b", "ü", "a@b", "a:b", "a\x00", strings.Repeat("x", 250)} {
			refused(h, "M_INVALID_USERNAME", userapi.Register, userapi.RegisterRequest{Username: name, Password: password})
		}
		refused(h, "M_WEAK_PASSWORD", userapi.Register, userapi.RegisterRequest{Username: "weak", Password: "1234567"})
		refused(h, "M_INVALID_PARAM", userapi.Register, userapi.RegisterRequest{Username: "long", Password: strings.Repeat("x", 600)})
		refused(h, "M_INVALID_PARAM", userapi.Register, userapi.RegisterRequest{Username: "dev", Password: password, DeviceID: "a\x00"})
		a := call(h, userapi.Register, userapi.RegisterRequest{Password: password})
		b := call(h, userapi.Register, userapi.RegisterRequest{Password: password, InhibitLogin: true})
		if a.UserID == b.UserID || len(a.DeviceID) != 10 || b.Token != "" || b.DeviceID != "" {
			h.t.Errorf("%+v %+v", a, b)
		}
	})
}

func TestRegisterRace(t *testing.T) {
	each(t, func(h *house) {
		var group sync.WaitGroup
		won := make(chan string, 8)
		for range 8 {
			group.Go(func() {
				if s, err := userapi.Register.Do(h.ctx, h.bus, &userapi.RegisterRequest{Username: "eve", Password: password}); err == nil {
					won <- s.Token
				} else if merr.From(err).Code != "M_USER_IN_USE" {
					h.t.Error(err)
				}
			})
		}
		group.Wait()
		if len(won) != 1 {
			h.t.Errorf("%d registrations of one name", len(won))
		}
	})
}

func TestLogin(t *testing.T) {
	each(t, func(h *house) {
		first := h.user("alice")
		for _, user := range []string{"alice", "@alice:test", "ALICE"} {
			s := call(h, userapi.Login, userapi.LoginRequest{User: user, Password: password})
			if s.UserID != "@alice:test" || s.DeviceID == first.DeviceID {
				h.t.Errorf("%+v", s)
			}
			h.mustBe(s.Token, true)
		}
		for _, req := range []userapi.LoginRequest{
			{User: "alice", Password: "wrong horse"}, {User: "alice"}, {User: "alice", Password: strings.Repeat("x", 5000)},
			{User: "nobody", Password: password}, {User: "@alice:elsewhere", Password: password}, {User: "@alice", Password: password},
			{User: "", Password: password}, {User: "a\x00", Password: password}, {User: "a\xff", Password: password},
		} {
			refused(h, "M_FORBIDDEN", userapi.Login, req)
		}
		second := call(h, userapi.Login, userapi.LoginRequest{User: "alice", Password: password, DeviceID: first.DeviceID, DeviceDisplayName: "new"})
		h.mustBe(first.Token, false) // a device has one token
		h.mustBe(second.Token, true)
		list := call(h, userapi.Devices, userapi.UserRequest{UserID: "@alice:test"})
		if len(list.Devices) != 4 {
			h.t.Errorf("%+v", list)
		}
		call(h, userapi.CheckPassword, userapi.PasswordRequest{UserID: "@alice:test", Password: password})
		refused(h, "M_FORBIDDEN", userapi.CheckPassword, userapi.PasswordRequest{UserID: "@alice:test", Password: "x"})
		h.mustBe("", false)
	})
}

func TestUnknownUsersTakeAsLong(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		took := func(user string) time.Duration {
			start := time.Now()
			refused(h, "M_FORBIDDEN", userapi.Login, userapi.LoginRequest{User: user, Password: "wrong"})
			return time.Since(start)
		}
		known, unknown := time.Hour, time.Hour
		for range 20 { // other work on the machine only makes both slower
			known, unknown = min(known, took("alice")), min(unknown, took("nobody"))
			if unknown > known/2 && known > unknown/2 {
				return
			}
		}
		h.t.Errorf("known %v, unknown %v", known, unknown)
	})
}

func TestImportedHashes(t *testing.T) {
	each(t, func(h *house) {
		old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			h.t.Fatal(err)
		}
		bad := map[string]string{
			"cost": strings.Replace(string(old), "$04$", "$31$", 1), "memory": "$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
			"junk": "x", "argon": "$argon2id$v=19$m=1$AA$AA", "threads": "$argon2id$v=19$m=64,t=1,p=0$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		}
		bad["imported"] = string(old)
		for name, hash := range bad {
			if err := h.users.CreateAccount(h.ctx, storage.Account{Localpart: name, Password: hash}, []byte(`"x"`), nil); err != nil {
				h.t.Fatal(err)
			}
		}
		for range 2 {
			call(h, userapi.Login, userapi.LoginRequest{User: "imported", Password: password})
			refused(h, "M_FORBIDDEN", userapi.Login, userapi.LoginRequest{User: "imported", Password: "wrong"})
		}
		if a, err := h.users.Account(h.ctx, "imported"); err != nil || !strings.HasPrefix(a.Password, "$argon2id$") {
			h.t.Errorf("not hashed anew: %+v %v", a, err)
		}
		delete(bad, "imported")
		for name := range bad {
			refused(h, "M_UNKNOWN", userapi.Login, userapi.LoginRequest{User: name, Password: password})
		}
	})
}

func TestLogoutAndPasswords(t *testing.T) {
	each(t, func(h *house) {
		revoked := make(chan *userapi.Revoked, 16)
		cancel, err := bus.Subscribe(h.bus, userapi.RevokedTopic, func(r *userapi.Revoked) { revoked <- r })
		if err != nil {
			h.t.Fatal(err)
		}
		defer cancel()
		one := h.user("alice")
		login := func(password string) *userapi.Session {
			return call(h, userapi.Login, userapi.LoginRequest{User: "alice", Password: password})
		}
		two, three := login(password), login(password)
		bob := h.user("bob")
		gone := call(h, userapi.Logout, userapi.LogoutRequest{UserID: "@alice:test", Devices: []string{two.DeviceID, "NONE", bob.DeviceID}})
		if len(gone.Tokens) != 1 || string(gone.Tokens[0]) != string(Hash(two.Token)) {
			h.t.Errorf("%v", gone)
		}
		select {
		case r := <-revoked:
			if len(r.Tokens) != 1 || string(r.Tokens[0]) != string(Hash(two.Token)) {
				h.t.Errorf("topic: %v", r)
			}
		case <-time.After(5 * time.Second):
			h.t.Error("nobody was told")
		}
		h.mustBe(two.Token, false)
		h.mustBe(one.Token, true)
		h.mustBe(bob.Token, true)
		refused(h, "M_NOT_FOUND", userapi.GetDevice, userapi.DeviceRequest{UserID: "@alice:test", DeviceID: two.DeviceID})

		const other = "another horse"
		call(h, userapi.SetPassword, userapi.SetPasswordRequest{UserID: "@alice:test", Password: other})
		h.mustBe(three.Token, true)
		call(h, userapi.SetPassword, userapi.SetPasswordRequest{UserID: "@alice:test", Password: other, LogoutDevices: true, KeepDevice: one.DeviceID})
		h.mustBe(three.Token, false)
		h.mustBe(one.Token, true)
		refused(h, "M_FORBIDDEN", userapi.Login, userapi.LoginRequest{User: "alice", Password: password})
		refused(h, "M_WEAK_PASSWORD", userapi.SetPassword, userapi.SetPasswordRequest{UserID: "@alice:test", Password: "x"})
		four := login(other)
		call(h, userapi.Logout, userapi.LogoutRequest{UserID: "@alice:test", All: true})
		h.mustBe(one.Token, false)
		h.mustBe(four.Token, false)
		h.mustBe(bob.Token, true)

		call(h, userapi.Deactivate, userapi.DeactivateRequest{UserID: "@bob:test"})
		h.mustBe(bob.Token, false)
		refused(h, "M_USER_DEACTIVATED", userapi.Login, userapi.LoginRequest{User: "bob", Password: password})
		refused(h, "M_USER_IN_USE", userapi.CheckUsername, userapi.UsernameRequest{Username: "bob"})
		refused(h, "M_NOT_FOUND", userapi.GetProfile, userapi.UserRequest{UserID: "@bob:test"})
		if u := call(h, userapi.GetUser, userapi.UserRequest{UserID: "@bob:test"}); !u.Deactivated {
			h.t.Errorf("%+v", u)
		}
		refused(h, "M_NOT_FOUND", userapi.GetUser, userapi.UserRequest{UserID: "@nobody:test"})
		refused(h, "M_NOT_FOUND", userapi.GetUser, userapi.UserRequest{UserID: "@bob:elsewhere"})
	})
}

func TestDevicesAreBounded(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		session := func(n int) storage.Session {
			return storage.Session{Device: fmt.Sprint(n), Token: Hash(fmt.Sprint("token", n)), MaxDevices: 3}
		}
		for n := range 2 {
			if _, err := h.users.StartSession(h.ctx, "alice", session(n)); err != nil {
				h.t.Fatal(err)
			}
		}
		if _, err := h.users.StartSession(h.ctx, "alice", session(2)); !errors.Is(err, merr.Forbidden("")) {
			h.t.Errorf("fourth device: %v", err)
		}
		again := session(1)
		again.Token = Hash("again")
		if _, err := h.users.StartSession(h.ctx, "alice", again); err != nil {
			h.t.Errorf("known device: %v", err)
		}
	})
}

func TestEverythingSurvivesARestart(t *testing.T) {
	each(t, func(h *house) {
		s := h.user("alice")
		h.set("@alice:test", "", "a", `{"n":1}`)
		h.shut()
		h.open(true)
		h.mustBe(s.Token, true)
		h.set("@alice:test", "", "b", `{}`)
		d := call(h, userapi.GetAccountData, userapi.AccountDataRequest{UserID: "@alice:test", Type: "b"})
		if d.Pos != 2 {
			h.t.Errorf("position %d after a restart", d.Pos)
		}
		call(h, userapi.Login, userapi.LoginRequest{User: "alice", Password: password})
	})
}

func BenchmarkAuthenticateUncached(b *testing.B) {
	h := &house{ctx: context.Background(), o: storetest.SQLite(b).Options}
	bb, err := bus.Connect(h.ctx, bus.Options{Local: true})
	if err != nil {
		b.Fatal(err)
	}
	defer bb.Close()
	s, err := New(h.ctx, Deps{Bus: bb, ServerName: "test", DataDir: h.o.DataDir, Log: h.o.Log, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	session, err := userapi.Register.Do(h.ctx, bb, &userapi.RegisterRequest{Username: "a"})
	if err != nil {
		b.Fatal(err)
	}
	req := &userapi.AuthenticateRequest{Token: Hash(session.Token)}
	for b.Loop() {
		if _, err := userapi.Authenticate.Do(h.ctx, bb, req); err != nil {
			b.Fatal(err)
		}
	}
}
