package devicekeys_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
)

// better is the rule of the spec, word by word.
func better(k, old userapi.BackupKey) bool {
	if k.Verified != old.Verified {
		return k.Verified
	}
	if k.FirstIndex != old.FirstIndex {
		return k.FirstIndex < old.FirstIndex
	}
	return k.Forwarded < old.Forwarded
}

func TestBackupsKeepTheBestKeys(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		version := call(h, userapi.CreateBackup, userapi.CreateBackupRequest{UserID: a.user, Algorithm: "x", AuthData: json.RawMessage(`{}`)}).Version
		random := rand.New(rand.NewPCG(3, 4))
		want := map[string]userapi.BackupKey{}
		etag := "0"
		for range 60 {
			var keys []userapi.BackupKey
			changes := false
			for range random.IntN(6) {
				k := userapi.BackupKey{
					RoomID: fmt.Sprintf("!%d:test", random.IntN(3)), SessionID: fmt.Sprint(random.IntN(4)), FirstIndex: random.Int64N(3),
					Forwarded: random.Int64N(3), Verified: random.IntN(2) == 0, SessionData: json.RawMessage(fmt.Sprintf(`{"n":%d}`, random.Int())),
				}
				keys = append(keys, k)
				name := k.RoomID + k.SessionID
				if old, ok := want[name]; !ok || better(k, old) {
					want[name], changes = k, true
				}
			}
			state := call(h, userapi.PutBackupKeys, userapi.PutBackupKeysRequest{UserID: a.user, Version: version, Keys: keys})
			if state.Count != int64(len(want)) || (state.Etag != etag) != changes {
				t.Fatalf("%+v, want %d keys; before %s, changes %v", state, len(want), etag, changes)
			}
			etag = state.Etag
		}
		got := call(h, userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version})
		if len(got.Keys) != len(want) || got.More {
			t.Errorf("%d keys", len(got.Keys))
		}
		for _, k := range got.Keys {
			if w := want[k.RoomID+k.SessionID]; string(w.SessionData) != string(k.SessionData) {
				t.Errorf("%+v, want %+v", k, w)
			}
		}
	})
}

func TestManyBackupKeys(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		create := userapi.CreateBackupRequest{UserID: a.user, Algorithm: "x", AuthData: json.RawMessage(`{}`)}
		version := call(h, userapi.CreateBackup, create).Version
		const all = 5200
		data := json.RawMessage(`{"x":"` + strings.Repeat("x", 150) + `"}`)
		for n := 0; n < all; n += 1300 {
			var keys []userapi.BackupKey
			for i := n; i < n+1300; i++ {
				keys = append(keys, userapi.BackupKey{RoomID: fmt.Sprintf("!%d:test", i%7), SessionID: fmt.Sprint(i), SessionData: data})
			}
			call(h, userapi.PutBackupKeys, userapi.PutBackupKeysRequest{UserID: a.user, Version: version, Keys: keys})
		}
		seen := map[string]bool{}
		req := userapi.BackupKeysRequest{UserID: a.user, Version: version}
		for more := true; more; {
			page := call(h, userapi.GetBackupKeys, req)
			for _, k := range page.Keys {
				seen[k.RoomID+k.SessionID] = true
				req.AfterRoom, req.AfterSession = k.RoomID, k.SessionID
			}
			more = page.More
		}
		if len(seen) != all {
			t.Errorf("%d keys in pages", len(seen))
		}
		room := userapi.BackupKeysRequest{UserID: a.user, Version: version, RoomID: "!3:test"}
		left := all - len(call(h, userapi.GetBackupKeys, room).Keys)
		if state := call(h, userapi.DeleteBackupKeys, room); state.Count != int64(left) || len(call(h, userapi.GetBackupKeys, room).Keys) != 0 {
			t.Errorf("%d keys after those of a room were deleted, want %d", state.Count, left)
		}
		state := call(h, userapi.DeleteBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version})
		if page := call(h, userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version}); state.Count != 0 || len(page.Keys) != 0 {
			t.Errorf("%d keys, %d counted after all were deleted", len(page.Keys), state.Count)
		}
		call(h, userapi.DeleteBackup, userapi.BackupRequest{UserID: a.user, Version: version})
		refused(h, "M_NOT_FOUND", userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version})
		if v := call(h, userapi.CreateBackup, create).Version; v == version {
			t.Error("a version was used again")
		}
		for _, bad := range []string{"", "0", "01", "-1", "x", "99999999999999999999"} {
			refused(h, "M_NOT_FOUND", userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: bad})
		}
		call(h, userapi.Deactivate, userapi.DeactivateRequest{UserID: a.user})
		refused(h, "M_NOT_FOUND", userapi.GetBackup, userapi.BackupRequest{UserID: a.user})
	})
}
