package presence

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const eve = "@eve:other.example"

func (f *fixture) edu(origin, content string) {
	f.t.Helper()
	if _, err := pdu.Canonical([]byte(content), false); err != nil {
		f.t.Fatal(err)
	}
	if _, err := userapi.RemotePresence.Do(f.t.Context(), f.bus, &userapi.RemotePresenceRequest{Origin: origin, Content: []byte(content)}); err != nil {
		f.t.Fatal(err)
	}
}

func entry(user, presence string) string {
	return `{"currently_active":true,"last_active_ago":5000,"presence":"` + presence + `","status_msg":"hi","user_id":"` + user + `"}`
}

func (f *fixture) of(user string) userapi.Presence {
	f.t.Helper()
	p, err := userapi.GetPresence.Do(f.t.Context(), f.bus, &userapi.UserRequest{UserID: user})
	if err != nil {
		f.t.Fatal(err)
	}
	return *p
}

// heard waits until n changes were told; the topic takes its time.
func (f *fixture) heard(n int) []userapi.Presence {
	f.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		told := slices.Clone(f.told)
		f.mu.Unlock()
		if len(told) >= n || time.Now().After(deadline) {
			if len(told) != n {
				f.t.Errorf("told %+v, want %d", told, n)
			}
			return told
		}
	}
}

func TestUsersOfOtherServers(t *testing.T) {
	f := start(t)
	f.edu("other.example", `{"push":[`+entry(eve, "online")+`]}`)
	p := f.of(eve)
	if p.Presence != "online" || !p.CurrentlyActive || p.StatusMsg != "hi" || p.LastActiveTS != f.clock().UnixMilli()-5000 {
		t.Errorf("%+v", p)
	}
	f.edu("other.example", `{"push":[`+entry(eve, "online")+`]}`)
	if told := f.heard(1); len(told) == 1 && (told[0].UserID != eve || told[0].Serial == 0) {
		t.Errorf("told %+v", told)
	}
	online, err := userapi.OnlineUsers.Do(t.Context(), f.bus, &userapi.UserRequest{})
	if err != nil || len(online.Users) != 1 || online.Users[0].UserID != eve {
		t.Errorf("%+v %v", online, err)
	}
	f.pass(remoteFor - time.Second)
	if p := f.of(eve); p.Presence != "online" {
		t.Errorf("%+v", p)
	}
	f.pass(time.Second)
	if p := f.of(eve); p.Presence != "offline" {
		t.Errorf("%+v", p)
	}
	if told := f.heard(2); len(told) == 2 && (told[1].Presence != "offline" || told[1].Serial <= told[0].Serial) {
		t.Errorf("told %+v", told)
	}
	f.edu("other.example", `{"push":[`+entry(eve, "unavailable")+`,`+entry(eve, "offline")+`]}`)
	if f.heard(4); len(f.remote.users) != 0 || len(f.remote.of) != 0 {
		t.Errorf("%v", f.remote)
	}
}

// TestHostilePresence: nobody speaks for others, and nobody fills the memory.
func TestHostilePresence(t *testing.T) {
	f := start(t)
	for _, content := range []string{
		`{}`, `{"push":5}`, `{"push":{}}`, `{"push":[null,5,"x",[],{}]}`,
		`{"push":[` + entry("@a:test", "online") + `,` + entry("@x:third.example", "online") + `,` + entry("eve", "online") + `]}`,
		`{"push":[` + entry(eve, "busy") + `,` + entry(eve, "offline") + `]}`,
	} {
		f.edu("other.example", content)
		f.edu("test", content)
	}
	if len(f.remote.users) != 0 {
		t.Errorf("%v", f.remote.users)
	}
	f.edu("other.example", `{"push":[{"last_active_ago":-5,"presence":"online","status_msg":"`+strings.Repeat("x", userapi.MaxStatus+1)+`","user_id":"`+eve+`"}]}`)
	if p := f.of(eve); p.Presence != "online" || p.StatusMsg != "" || p.LastActiveTS != 0 || p.CurrentlyActive {
		t.Errorf("%+v", p)
	}
	for i := range maxRemoteOf/100 + 2 {
		var list []string
		for j := range 100 {
			list = append(list, entry(fmt.Sprintf("@u%d_%d:other.example", i, j), "online"))
		}
		f.edu("other.example", `{"push":[`+strings.Join(list, ",")+`]}`)
	}
	if n := len(f.remote.users); n != maxRemoteOf {
		t.Errorf("%d users", n)
	}
	f.edu("good.example", `{"push":[`+entry("@u:good.example", "online")+`]}`)
	if p := f.of("@u:good.example"); p.Presence != "online" {
		t.Errorf("%+v", p)
	}
	f.show("@a:test", "D", "online", time.Minute)
	f.is("online", true, "")
}

// TestOtherServersAreTold: those that share a room with a local user, of changes and from time to time.
func TestOtherServersAreTold(t *testing.T) {
	f := start(t)
	err := bus.Handle(f.bus, roomapi.ServersOf, func(_ context.Context, r *roomapi.ServersOfRequest) (*roomapi.HostsResponse, error) {
		if r.UserID == "@a:test" {
			return &roomapi.HostsResponse{Servers: []string{"other.example"}}, nil
		}
		return &roomapi.HostsResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan remoteapi.EDURequest, 10)
	cancel, err := bus.Subscribe(f.bus, remoteapi.PresenceTopic, func(r *remoteapi.EDURequest) { arrived <- *r })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	flush := func() (sent []remoteapi.EDURequest) {
		t.Helper()
		for _, p := range f.news() {
			f.tellServers(t.Context(), p)
		}
		// What comes last ends the wait.
		remoteapi.PresenceTopic.Publish(f.bus, &remoteapi.EDURequest{Type: "end"})
		for e := range arrived {
			if e.Type == "end" {
				return sent
			}
			sent = append(sent, e)
		}
		return nil
	}
	f.show("@a:test", "D", "online", 10*time.Minute)
	f.show("@b:test", "D", "online", 10*time.Minute)
	f.edu("other.example", `{"push":[`+entry(eve, "online")+`]}`)
	sent := flush()
	if len(sent) != 1 {
		t.Fatalf("%+v", sent)
	}
	want := `{"push":[{"currently_active":true,"last_active_ago":0,"presence":"online","user_id":"@a:test"}]}`
	if e := sent[0]; string(e.Content) != want || e.Type != "m.presence" || e.Key != "@a:test" || fmt.Sprint(e.Destinations) != "[other.example]" {
		t.Errorf("%+v %s", e, e.Content)
	}
	if sent := flush(); len(sent) != 0 {
		t.Errorf("without news: %+v", sent)
	}
	for range 6 { // stays, without doing anything more than once
		f.pass(5 * time.Minute)
		f.show("@a:test", "D", "online", 10*time.Minute)
	}
	if sent := flush(); len(sent) != 1 {
		t.Errorf("after half an hour: %+v", sent)
	}
}
