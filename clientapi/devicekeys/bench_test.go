package devicekeys_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"hearth/clientapi/userapi"
	"hearth/internal/store/storetest"
)

// engines runs a benchmark on both engines.
func engines(b *testing.B, run func(b *testing.B, h *house)) {
	b.Run("sqlite", func(b *testing.B) { run(b, newHouse(b, storetest.SQLite(b).Options, true)) })
	b.Run("postgres", func(b *testing.B) { run(b, newHouse(b, storetest.Postgres(b).Options, false)) })
}

// people registers users, each with three devices that have keys.
func (h *house) people(users, oneTime int) []*device {
	h.t.Helper()
	var all []*device
	for u := range users {
		name := fmt.Sprintf("user%d", u)
		first := h.user(name, "D0")
		for d := range 3 {
			dev := &device{h: h, user: first.user, id: fmt.Sprintf("D%d", d), key: first.key}
			if d > 0 {
				call(h, userapi.SetDevice, userapi.SetDeviceRequest{UserID: dev.user, DeviceID: dev.id, Create: true})
				call(h, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: dev.user, DeviceID: dev.id, DeviceKeys: dev.keys()})
				continue
			}
			dev.upload(0, oneTime)
			all = append(all, dev)
		}
	}
	return all
}

// BenchmarkQuery asks for the keys of 1,000 users with three devices each.
func BenchmarkQuery(b *testing.B) {
	engines(b, func(b *testing.B, h *house) {
		const users = 1000
		h.people(users, 0)
		req := userapi.QueryKeysRequest{Viewer: "@user0:test", Users: map[string][]string{}}
		for u := range users {
			req.Users[fmt.Sprintf("@user%d:test", u)] = nil
		}
		for b.Loop() {
			n := 0
			err := userapi.ReadKeys(h.ctx, h.bus, &req, func(*userapi.KeyPart) error { n++; return nil })
			if err != nil || n != 3*users {
				b.Fatalf("%d devices: %v", n, err)
			}
		}
	})
}

// BenchmarkClaim claims a key of each of 1,000 devices.
func BenchmarkClaim(b *testing.B) {
	engines(b, func(b *testing.B, h *house) {
		const each = 60
		devices := h.people(1000, each)
		claimed := 0
		for b.Loop() {
			req := userapi.ClaimKeysRequest{}
			for _, d := range devices {
				req.Claims = append(req.Claims, userapi.KeyClaim{UserID: d.user, DeviceID: d.id, Algorithm: "signed_curve25519"})
			}
			for i, k := range call(h, userapi.ClaimKeys, req).Keys {
				if (k.Name == "") != (claimed >= each) {
					b.Fatalf("claim %d of device %d: %q", claimed, i, k.Name)
				}
			}
			claimed++
		}
	})
}

// BenchmarkSync reads the news of a device with a short queue while 200,000 messages
// wait for others, and a batch of the device for which half of them wait.
func BenchmarkSync(b *testing.B) {
	engines(b, func(b *testing.B, h *house) {
		sender := h.user("sender", "PHONE")
		var all []*device
		for _, name := range []string{"full", "other", "short"} {
			d := h.user(name, "PHONE")
			d.upload(0, 50)
			all = append(all, d)
		}
		fill := func(d *device, messages int) {
			const atOnce = 500 // requests, which share commits
			body := json.RawMessage(`{"ciphertext":"` + strings.Repeat("x", 400) + `"}`)
			var group errgroup.Group
			group.SetLimit(atOnce)
			for range messages {
				group.Go(func() error {
					_, err := userapi.SendToDevice.Do(h.ctx, h.bus, &userapi.SendToDeviceRequest{Sender: sender.user, Type: "m.room.encrypted",
						Messages: map[string]map[string]json.RawMessage{d.user: {d.id: body}}})
					return err
				})
			}
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		fill(all[0], userapi.MaxQueue)
		fill(all[1], userapi.MaxQueue)
		fill(all[2], 3)
		for name, d := range map[string]*device{"short queue": all[2], "long queue": all[0]} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if s := d.sync(0, 0); len(s.Messages) < 3 {
						b.Fatalf("%d messages", len(s.Messages))
					}
				}
			})
		}
		b.Run("acknowledge", func(b *testing.B) {
			after := int64(0)
			for b.Loop() {
				after = all[1].sync(after, after).Last
			}
		})
	})
}

// BenchmarkBackup works on a backup with 100,000 keys.
func BenchmarkBackup(b *testing.B) {
	engines(b, func(b *testing.B, h *house) {
		a := h.user("alice", "PHONE")
		version := call(h, userapi.CreateBackup, userapi.CreateBackupRequest{UserID: a.user, Algorithm: "x", AuthData: json.RawMessage(`{}`)}).Version
		data := json.RawMessage(`{"ciphertext":"` + strings.Repeat("x", 300) + `"}`)
		put := func(from, to int) *userapi.BackupState {
			req := userapi.PutBackupKeysRequest{UserID: a.user, Version: version}
			for n := from; n < to; n++ {
				req.Keys = append(req.Keys, userapi.BackupKey{RoomID: fmt.Sprintf("!%d:test", n%100), SessionID: fmt.Sprint(n), SessionData: data})
			}
			return call(h, userapi.PutBackupKeys, req)
		}
		const keys = 100_000
		for n := 0; n < keys; n += 1000 {
			put(n, n+1000)
		}
		b.Run("put 100", func(b *testing.B) {
			n := keys
			for b.Loop() {
				put(n, n+100)
				n += 100
			}
		})
		b.Run("version", func(b *testing.B) {
			for b.Loop() {
				call(h, userapi.GetBackup, userapi.BackupRequest{UserID: a.user})
			}
		})
		b.Run("one key", func(b *testing.B) {
			for b.Loop() {
				call(h, userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version, RoomID: "!7:test", SessionID: "50007"})
			}
		})
		b.Run("page", func(b *testing.B) {
			for b.Loop() {
				call(h, userapi.GetBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version, AfterRoom: "!50:test", AfterSession: "1"})
			}
		})
		b.Run("all", func(b *testing.B) {
			for b.Loop() {
				req, n := userapi.BackupKeysRequest{UserID: a.user, Version: version}, 0
				for more := true; more; {
					page := call(h, userapi.GetBackupKeys, req)
					n += len(page.Keys)
					last := page.Keys[len(page.Keys)-1]
					req.AfterRoom, req.AfterSession, more = last.RoomID, last.SessionID, page.More
				}
				if n < keys {
					b.Fatalf("%d keys", n)
				}
			}
		})
		b.Run("delete all", func(b *testing.B) {
			for b.Loop() {
				call(h, userapi.DeleteBackupKeys, userapi.BackupKeysRequest{UserID: a.user, Version: version})
			}
		})
	})
}
