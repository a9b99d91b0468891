package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

func TestProfile(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		set := func(key, value string) *userapi.Profile {
			return call(h, userapi.SetProfile, userapi.SetProfileRequest{UserID: "@alice:test", Key: key, Value: json.RawMessage(value)})
		}
		set("displayname", `"Älice \u0000"`)
		p := set("org.example.field", `{"a":[1,null]}`)
		if len(p.Fields) != 2 || string(p.Fields["displayname"]) != `"Älice \u0000"` {
			h.t.Errorf("%s", p.Fields)
		}
		p = call(h, userapi.SetProfile, userapi.SetProfileRequest{UserID: "@alice:test", Key: "displayname"})
		if got := call(h, userapi.GetProfile, userapi.UserRequest{UserID: "@alice:test"}); len(p.Fields) != 1 || len(got.Fields) != 1 {
			h.t.Errorf("%s %s", p.Fields, got.Fields)
		}
		big := json.RawMessage(`"` + strings.Repeat("x", 40<<10) + `"`)
		call(h, userapi.SetProfile, userapi.SetProfileRequest{UserID: "@alice:test", Key: "org.example.big", Value: big})
		refused(h, "M_PROFILE_TOO_LARGE", userapi.SetProfile, userapi.SetProfileRequest{UserID: "@alice:test", Key: "org.example.big2", Value: big})
		refused(h, "M_KEY_TOO_LARGE", userapi.SetProfile, userapi.SetProfileRequest{UserID: "@alice:test", Key: strings.Repeat("k", 256), Value: json.RawMessage("1")})
		refused(h, "M_NOT_FOUND", userapi.SetProfile, userapi.SetProfileRequest{UserID: "@nobody:test", Key: "displayname", Value: json.RawMessage(`""`)})
	})
}

func (h *house) set(user, room, kind, content string) {
	h.t.Helper()
	call(h, userapi.SetAccountData, userapi.SetAccountDataRequest{
		UserID: user, Data: userapi.AccountData{RoomID: room, Type: kind, Content: json.RawMessage(content)},
	})
}

func TestAccountDataAndItsLog(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		h.user("bob")
		// A reader from the start, one from the middle, and one that comes late must
		// all see the same, each position once.
		early := h.follow(0)
		h.set("@alice:test", "", "a", `{"n":1}`)     // 1
		h.set("@alice:test", "!r:test", "a", `{}`)   // 2
		h.set("@bob:test", "", "a", `{"bob":true}`)  // 3
		h.set("@alice:test", "", "a", `{"n":2}`)     // 4, hides 1
		h.set("@alice:test", "", "b", `{"last":{}}`) // 5
		d := call(h, userapi.GetAccountData, userapi.AccountDataRequest{UserID: "@alice:test", Type: "a"})
		if string(d.Content) != `{"n":2}` || d.Pos != 4 {
			h.t.Errorf("%+v", d)
		}
		refused(h, "M_NOT_FOUND", userapi.GetAccountData, userapi.AccountDataRequest{UserID: "@bob:test", Type: "b"})
		refused(h, "M_NOT_FOUND", userapi.SetAccountData, userapi.SetAccountDataRequest{UserID: "@nobody:test", Data: userapi.AccountData{Type: "a", Content: json.RawMessage("{}")}})
		refused(h, "M_INVALID_PARAM", userapi.SetAccountData, userapi.SetAccountDataRequest{UserID: "@bob:test", Data: userapi.AccountData{Type: "a\x00", Content: json.RawMessage("{}")}})

		for _, c := range []struct {
			after, upTo int64
			want        string
		}{{0, 0, "2 4 5"}, {2, 0, "4 5"}, {0, 4, "2 4"}, {4, 4, ""}, {5, 0, ""}, {0, 3, "2"}, {0, 99, "2 4 5"}} {
			page := call(h, userapi.ChangedAccountData, userapi.ChangedAccountDataRequest{UserID: "@alice:test", After: c.after, UpTo: c.upTo})
			var got []string
			for _, d := range page.Data {
				got = append(got, fmt.Sprint(d.Pos))
			}
			if strings.Join(got, " ") != c.want || page.More || page.Pos == 0 {
				h.t.Errorf("after %d up to %d: %v at %d", c.after, c.upTo, got, page.Pos)
			}
		}
		late := h.follow(0)
		for name, log := range map[string]<-chan string{"early": early, "late": late} {
			want := []string{"1 @alice:test a", "2 @alice:test a !r:test", "3 @bob:test a", "4 @alice:test a", "5 @alice:test b"}
			for i, w := range want {
				select {
				case got := <-log:
					hidden := i == 0 && got == "1 hidden" // written again before it was read
					if got != w && !hidden {
						h.t.Errorf("%s: %q, want %q", name, got, w)
					}
				case <-time.After(10 * time.Second):
					h.t.Fatalf("%s: nothing after %d", name, i)
				}
			}
		}
		if head, err := bus.Head(h.ctx, h.bus, userapi.Log); err != nil || head != 5 {
			h.t.Errorf("head %d %v", head, err)
		}
		entries, head, err := h.users.ReadLog(h.ctx, 0, 2, h.userID)
		if err != nil || head != 5 || len(entries) != 2 || entries[0].Pos != 1 || entries[0].Entry.Kind != 0 || entries[1].Pos != 2 {
			h.t.Errorf("%v %d %v", entries, head, err)
		}
		// Erased data leaves gaps at the end, which must be filled too.
		call(h, userapi.Deactivate, userapi.DeactivateRequest{UserID: "@alice:test", Erase: true})
		if entries, _, err := h.users.ReadLog(h.ctx, 0, 100, h.userID); err != nil || len(entries) != 5 || entries[4].Pos != 5 {
			h.t.Errorf("%v %v", entries, err)
		}
	})
}

// follow reads the log from a position as text.
func (h *house) follow(after int64) <-chan string {
	out := make(chan string, 1000)
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan struct{})
	h.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		_ = bus.Follow(ctx, h.bus, userapi.Log, after, func(_ context.Context, batch []bus.Positioned[userapi.Entry]) error {
			for _, p := range batch {
				if p.Entry.Kind != userapi.KindAccountData {
					out <- fmt.Sprint(p.Pos, " hidden")
					continue
				}
				out <- strings.TrimSpace(fmt.Sprint(p.Pos, " ", p.Entry.UserID, " ", p.Entry.Data.Type, " ", p.Entry.Data.RoomID))
			}
			return nil
		})
	}()
	return out
}

func TestAccountDataPagesAndLimit(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		big := `{"x":"` + strings.Repeat("x", 150<<10) + `"}`
		for n := range 5 {
			h.set("@alice:test", "", fmt.Sprint("t", n), big)
		}
		var seen, pages int
		for after := int64(0); ; pages++ {
			page := call(h, userapi.ChangedAccountData, userapi.ChangedAccountDataRequest{UserID: "@alice:test", After: after})
			for _, d := range page.Data {
				seen++
				after = d.Pos
			}
			if !page.More {
				break
			}
		}
		if seen != 5 || pages != 2 {
			h.t.Errorf("%d pieces on %d further pages", seen, pages)
		}
		err := h.users.SetAccountData(h.ctx, "alice", userapi.AccountData{Type: "new", Content: json.RawMessage("{}")}, 5)
		if !errors.Is(err, merr.Forbidden("")) {
			h.t.Errorf("sixth of five pieces: %v", err)
		}
		if err := h.users.SetAccountData(h.ctx, "alice", userapi.AccountData{Type: "t1", Content: json.RawMessage("{}")}, 5); err != nil {
			h.t.Errorf("known piece: %v", err)
		}
	})
}

func TestFilters(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		h.user("bob")
		put := func(filter string) string {
			return call(h, userapi.PutFilter, userapi.PutFilterRequest{UserID: "@alice:test", Filter: json.RawMessage(filter)}).FilterID
		}
		a, b := put(`{"room":{}}`), put(`{}`)
		if a == b || a != put(`{"room":{}}`) || strings.HasPrefix(a, "{") {
			h.t.Errorf("ids %q %q", a, b)
		}
		if f := call(h, userapi.GetFilter, userapi.FilterRequest{UserID: "@alice:test", FilterID: a}); string(f.Filter) != `{"room":{}}` {
			h.t.Errorf("%s", f.Filter)
		}
		refused(h, "M_NOT_FOUND", userapi.GetFilter, userapi.FilterRequest{UserID: "@bob:test", FilterID: a})
		for n := range 4 {
			if err := h.users.PutFilter(h.ctx, "bob", fmt.Sprint(n), []byte("{}"), 3); err != nil {
				h.t.Fatal(err)
			}
		}
		kept := 0
		for n := range 4 {
			if _, err := h.users.Filter(h.ctx, "bob", fmt.Sprint(n)); err == nil {
				kept++
			}
		}
		if _, err := h.users.Filter(h.ctx, "bob", "3"); err != nil || kept != 3 {
			h.t.Errorf("kept %d, newest %v", kept, err)
		}
	})
}
