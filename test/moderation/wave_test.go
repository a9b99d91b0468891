package moderation

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/testkit/testca"
	"hearth/test/harness"
)

// abroad starts a server that others can reach.
func abroad(t *testing.T, ca *testca.CA, change func(m map[string]any)) *harness.Server {
	t.Helper()
	caFile, cert, key := ca.Files(t.TempDir(), "localhost", "127.0.0.1")
	var name string
	s := harness.Start(t, harness.Options{Config: func(m map[string]any) {
		listener := m["listeners"].(map[string]any)["federation"].(map[string]any)
		listener["tls_cert"], listener["tls_key"] = cert, key
		_, port, err := net.SplitHostPort(listener["address"].(string))
		if err != nil {
			t.Fatal(err)
		}
		name = net.JoinHostPort("localhost", port)
		m["server_name"] = name
		m["federation"] = map[string]any{"ca_file": caFile}
		m["outbound"] = map[string]any{"allow_networks": []string{"127.0.0.0/8", "::1"}}
		if change != nil {
			change(m)
		}
	}})
	s.Name = name
	return s
}

// judge is an antispam webhook that refuses the invites of some users.
type judge struct {
	asked, refused atomic.Int64
	strange        atomic.Int64 // requests that are not as they should be
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req struct {
		Event struct {
			Sender   string `json:"sender"`
			StateKey string `json:"state_key"`
			EventID  string `json:"event_id"`
			Type     string `json:"type"`
		}
	}
	if err != nil || json.Unmarshal(body, &req) != nil || r.URL.Path != "/judge/federated_user_may_invite" ||
		r.Header.Get("Authorization") != "Bearer secret" || req.Event.Type != "m.room.member" || req.Event.EventID == "" {
		j.strange.Add(1)
	}
	j.asked.Add(1)
	if strings.HasPrefix(req.Event.Sender, "@hook") {
		j.refused.Add(1)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errcode":"M_FORBIDDEN","error":"spam, says the webhook"}`)
		return
	}
	_, _ = io.WriteString(w, `{}`)
}

// TestWaveOfInvites: 500 invites from 50 fresh accounts of another server at one user. A policy list
// knows ten accounts, the user's filter blocks ten and ignores ten, a webhook refuses ten; the
// invites of the last ten come through.
func TestWaveOfInvites(t *testing.T) {
	const accounts, invites = 10, 10 // of each kind, and by each
	j := &judge{}
	hook := httptest.NewServer(j)
	defer hook.Close()
	ca := testca.New(t)
	home := abroad(t, ca, func(m map[string]any) {
		m["antispam"] = []any{map[string]any{
			"url": hook.URL + "/judge", "authorization": "secret", "callbacks": []string{"federated_user_may_invite"},
		}}
	})
	away := abroad(t, ca, nil)
	chief := registerAdmin(t, home, "boss")
	boss := onAdmin(home, chief)
	victim := home.Register(t, "victim")
	if err := victim.SetAccountData("org.matrix.msc4155.invite_permission_config", object{
		"blocked_users": []string{"@block*:*"}, "ignored_users": []string{"@ignore*:*"},
	}); err != nil {
		t.Fatal(err)
	}
	list, err := chief.CreateRoom(object{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		if _, err := chief.SetState(list, "m.policy.rule.user", fmt.Sprint(i), object{
			"entity": fmt.Sprintf("@list%d:%s", i, away.Name), "recommendation": "m.ban",
		}); err != nil {
			t.Fatal(err)
		}
	}
	status, code := do(boss, http.MethodPut, policyPath+"/lists/"+list, object{"ops": []string{"invite"}})
	expect(t, "subscribe", status, code, 200, "")
	soon(t, "the list is known", "", func() (int, string) {
		var rules struct{ Total int }
		status, err := boss.Do(http.MethodGet, policyPath+"/rules", nil, &rules)
		if err != nil || rules.Total != accounts {
			return status, "not yet"
		}
		return status, ""
	})
	kinds := []string{"list", "block", "ignore", "hook", "good"}
	answers := map[string]map[string]int{}
	var mu sync.Mutex // guards answers
	var took atomic.Int64
	var work sync.WaitGroup
	together := make(chan struct{}, 10)
	for _, kind := range kinds {
		answers[kind] = map[string]int{}
	}
	for _, kind := range kinds {
		for i := range accounts {
			together <- struct{}{}
			work.Go(func() {
				defer func() { <-together }()
				u := away.Register(t, fmt.Sprint(kind, i))
				for range invites {
					room, err := u.CreateRoom(object{})
					if err != nil {
						t.Error(err)
						return
					}
					begin := time.Now()
					status, code := do(u, http.MethodPost, harness.Path("rooms", room, "invite"), object{"user_id": victim.UserID})
					took.Add(int64(time.Since(begin)))
					mu.Lock()
					answers[kind][strings.TrimSpace(fmt.Sprint(status, " ", code))]++
					mu.Unlock()
				}
			})
		}
	}
	work.Wait()
	const each = accounts * invites
	for kind, want := range map[string]string{
		"list": "403 M_FORBIDDEN", "block": "403 M_INVITE_BLOCKED", "ignore": "200", "hook": "403 M_FORBIDDEN", "good": "200",
	} {
		t.Logf("%-7s %v", kind, answers[kind])
		if answers[kind][want] != each {
			t.Errorf("%s: %v, want %d of %s", kind, answers[kind], each, want)
		}
	}
	t.Logf("%v an invite; the webhook was asked %d times and refused %d", time.Duration(took.Load()/(5*each)), j.asked.Load(), j.refused.Load())
	if j.strange.Load() != 0 || j.refused.Load() != each || j.asked.Load() > 3*each {
		t.Errorf("the webhook: asked %d, refused %d, %d requests are strange", j.asked.Load(), j.refused.Load(), j.strange.Load())
	}
	seen, err := victim.Sync("", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(seen.Rooms.Invite); n != each {
		t.Errorf("the user sees %d invites, want %d", n, each)
	}
}
