package moderation

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

// upload stores a file and returns its media id.
func upload(t *testing.T, s *harness.Server, c *harness.Client, content string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL()+"/_matrix/media/v3/upload?filename=a.txt", strings.NewReader(content))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Content-Type", "text/plain")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(res.Body)
	must(t, err)
	_, id, ok := strings.Cut(body.String(), "mxc://localhost/")
	if !ok {
		t.Fatalf("upload: %d %s", res.StatusCode, body.String())
	}
	return strings.TrimRight(id, "\"}\n")
}

// TestMedia: administrators list, hide, protect and delete files.
func TestMedia(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := asking{t, onAdmin(s, registerAdmin(t, s, "boss"))}
		bob := s.Register(t, "bob")
		first, second, third := upload(t, s, bob, "one"), upload(t, s, bob, "two, longer"), upload(t, s, bob, "three")
		room, err := bob.CreateRoom(object{})
		must(t, err)
		_, err = bob.Send(room, "m.room.message", "f", object{"msgtype": "m.file", "body": "a.txt", "url": "mxc://localhost/" + first})
		must(t, err)
		list := boss.get(synapseV1+"/users/"+bob.UserID+"/media?order_by=media_length&dir=b", 200)
		if list["total"] != 3.0 || list["media"].([]any)[0].(object)["media_id"] != second {
			t.Errorf("the list: %v", list)
		}
		boss.get(synapseV1+"/users/"+bob.UserID+"/media?order_by=colour", 400)
		if got := boss.get(synapseV1+"/room/"+room+"/media", 200); fmt.Sprint(got["local"]) != "[mxc://localhost/"+first+"]" {
			t.Errorf("media of the room: %v", got)
		}
		status := func(id string) int {
			status, _ := bob.Do(http.MethodGet, "/_matrix/client/v1/media/download/localhost/"+id, nil, nil)
			return status
		}
		boss.do(http.MethodPost, synapseV1+"/media/quarantine/localhost/"+first, object{}, 200)
		if got := status(first); got != 404 {
			t.Errorf("a file in quarantine: %d", got)
		}
		if got := boss.get(synapseV1+"/media/localhost/"+first, 200)["media_info"].(object); got["quarantined_by"] != "@boss:localhost" {
			t.Errorf("the file: %v", got)
		}
		boss.do(http.MethodPost, synapseV1+"/media/unquarantine/localhost/"+first, object{}, 200)
		if got := status(first); got != 200 {
			t.Errorf("a file that was in quarantine: %d", got)
		}
		boss.do(http.MethodPost, synapseV1+"/media/protect/"+second, object{}, 200)
		if got := boss.do(http.MethodPost, synapseV1+"/user/"+bob.UserID+"/media/quarantine", object{}, 200); got["num_quarantined"] != 2.0 {
			t.Errorf("quarantine of a user: %v", got)
		}
		if status(second) != 200 || status(third) != 404 {
			t.Error("what is protected is hidden, or what is not is shown")
		}
		boss.do(http.MethodPost, synapseV1+"/media/unprotect/"+second, object{}, 200)
		if got := boss.do(http.MethodPost, synapseV1+"/room/"+room+"/media/quarantine", object{}, 200); got["num_quarantined"] != 0.0 {
			t.Errorf("quarantine of a room: %v", got)
		}
		if got := boss.get(synapseV1+"/statistics/users/media", 200); got["total"] != 1.0 || got["users"].([]any)[0].(object)["media_count"] != 3.0 {
			t.Errorf("statistics: %v", got)
		}
		if got := boss.do(http.MethodDelete, synapseV1+"/media/localhost/"+third, nil, 200); fmt.Sprint(got["deleted_media"]) != "["+third+"]" {
			t.Errorf("deleted: %v", got)
		}
		boss.do(http.MethodDelete, synapseV1+"/media/localhost/"+third, nil, 404)
		boss.do(http.MethodDelete, synapseV1+"/media/elsewhere/"+third, nil, 400)
		later := time.Now().Add(time.Hour).UnixMilli()
		if got := boss.do(http.MethodPost, fmt.Sprint(synapseV1, "/media/delete?size_gt=5&before_ts=", later), object{}, 200); fmt.Sprint(got["deleted_media"]) != "["+second+"]" {
			t.Errorf("deleted by size: %v", got)
		}
		boss.do(http.MethodPost, synapseV1+"/media/delete?before_ts=1", object{}, 400)
		if got := boss.do(http.MethodPost, fmt.Sprint(synapseV1, "/purge_media_cache?before_ts=", later), object{}, 200); got["deleted"] != 0.0 {
			t.Errorf("purged: %v", got)
		}
		if got := boss.do(http.MethodDelete, synapseV1+"/users/"+bob.UserID+"/media", nil, 200); got["total"] != 1.0 {
			t.Errorf("deleted of the user: %v", got)
		}
	})
}

// TestSettings: what administrators set for single users, and count.
func TestSettings(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := asking{t, onAdmin(s, registerAdmin(t, s, "boss"))}
		bob, eve := s.Register(t, "bob"), s.Register(t, "eve")
		user := synapseV1 + "/users/" + bob.UserID
		room, err := bob.CreateRoom(object{"invite": []string{eve.UserID}})
		must(t, err)
		must(t, eve.Join(room))
		if got := boss.get(user+"/sent_invite_count?from_ts=0", 200); got["invite_count"] != 1.0 {
			t.Errorf("invites: %v", got)
		}
		if got := boss.get(synapseV1+"/users/"+eve.UserID+"/cumulative_joined_room_count?from_ts=0", 200); got["cumulative_joined_room_count"] != 1.0 {
			t.Errorf("joins: %v", got)
		}
		future := time.Now().Add(time.Hour).UnixMilli()
		if got := boss.get(fmt.Sprint(user, "/sent_invite_count?from_ts=", future), 200); got["invite_count"] != 0.0 {
			t.Errorf("invites in the future: %v", got)
		}
		boss.get(user+"/sent_invite_count", 400)
		if got := boss.get(user+"/override_ratelimit", 200); len(got) != 0 {
			t.Errorf("no limit is set: %v", got)
		}
		boss.do(http.MethodPost, user+"/override_ratelimit", object{"messages_per_second": 1, "burst_count": 7}, 200)
		if got := boss.get(user+"/override_ratelimit", 200); got["burst_count"] != 7.0 || got["messages_per_second"] != 1.0 {
			t.Errorf("the limit: %v", got)
		}
		boss.do(http.MethodPost, user+"/override_ratelimit", object{"messages_per_second": -1}, 400)
		boss.do(http.MethodDelete, user+"/override_ratelimit", nil, 200)
		boss.get(synapseV1+"/users/@nobody:localhost/override_ratelimit", 404)
		boss.do(http.MethodPut, synapseV1+"/experimental_features/"+bob.UserID, object{"features": object{"msc3881": true}}, 200)
		if got := boss.get(synapseV1+"/experimental_features/"+bob.UserID, 200)["features"].(object); got["msc3881"] != true {
			t.Errorf("features: %v", got)
		}
		boss.do(http.MethodPost, user+"/_allow_cross_signing_replacement_without_uia", object{}, 404)
		if got := boss.do(http.MethodPost, synapseV1+"/account_validity/validity", object{"user_id": bob.UserID, "expiration_ts": future}, 200); got["expiration_ts"] != float64(future) {
			t.Errorf("validity: %v", got)
		}
		if got := boss.get(user+"/pushers", 200); got["total"] != 0.0 {
			t.Errorf("pushers: %v", got)
		}
		boss.get(synapseV1+"/auth_providers/oidc/users/nobody", 404)
		if got := boss.get(synapseV1+"/statistics/database/rooms", 200)["rooms"].([]any); len(got) != 1 || got[0].(object)["estimated_size"].(float64) < 1000 {
			t.Errorf("rooms by size: %v", got)
		}
		if got := boss.get(synapseV1+"/background_updates/status", 200); got["enabled"] != true {
			t.Errorf("updates: %v", got)
		}
	})
}
