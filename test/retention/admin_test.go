package retention

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"hearth/test/harness"
)

// TestAdministration sets policies, holds and purges by hand over HTTP.
func TestAdministration(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: configure})
	boss, alice := administrator(t, s), s.Register(t, "alice")
	call := func(c *harness.Client, want int, method, path string, body, out any) {
		t.Helper()
		if status, err := c.Do(method, path, body, out); status != want {
			t.Fatalf("%s %s: %d %v", method, path, status, err)
		}
	}
	const ours = "/_hearth/admin/v1/retention"
	call(alice, http.StatusNotFound, http.MethodGet, ours, nil, nil) // not on this listener
	call(boss, 400, http.MethodPut, ours+"/policy", object{"allowed_lifetime_min": 2, "allowed_lifetime_max": 1}, nil)
	call(boss, 200, http.MethodPut, ours+"/policy", object{"default_max_lifetime": 86_400_000, "allowed_lifetime_max": 604_800_000}, nil)
	var shown struct {
		Policies map[string]map[string]int64 `json:"policies"`
		Limits   map[string]map[string]int64 `json:"limits"`
	}
	call(alice, 200, http.MethodGet, "/_matrix/client/unstable/org.matrix.msc1763/retention/configuration", nil, &shown)
	if shown.Policies["*"]["max_lifetime"] != 86_400_000 || shown.Limits["max_lifetime"]["max"] != 604_800_000 {
		t.Errorf("clients are shown %+v", shown)
	}
	room, err := alice.CreateRoom(object{"preset": "private_chat"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := alice.SendText(room, "1", "first")
	if err != nil {
		t.Fatal(err)
	}
	last, err := alice.SendText(room, "2", "last")
	if err != nil {
		t.Fatal(err)
	}
	var hold struct{ ID int64 }
	call(boss, 200, http.MethodPost, ours+"/holds", object{"kind": "event", "target": first, "reason": "an inquiry"}, &hold)
	var dry receipt
	call(boss, 200, http.MethodPost, ours+"/run", object{"dry_run": true, "policy": object{"default_max_lifetime": 1}}, &dry)
	if dry.Events == 0 {
		t.Errorf("the dry run says %+v", dry)
	}
	call(boss, 200, http.MethodDelete, ours+"/holds/1", nil, nil)
	call(boss, 404, http.MethodDelete, ours+"/holds/1", nil, nil)
	var purge, status struct {
		ID     string `json:"purge_id"`
		Status string `json:"status"`
	}
	call(boss, 200, http.MethodPost, "/_synapse/admin/v1/purge_history/"+url.PathEscape(room)+"/"+url.PathEscape(last), object{"delete_local_events": true}, &purge)
	for deadline := time.Now().Add(30 * time.Second); status.Status != "complete" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		call(boss, 200, http.MethodGet, "/_synapse/admin/v1/purge_history_status/"+purge.ID, nil, &status)
	}
	call(alice, 404, http.MethodGet, harness.Path("rooms", room, "event", first), nil, nil)
	call(alice, 200, http.MethodGet, harness.Path("rooms", room, "event", last), nil, nil)
}
