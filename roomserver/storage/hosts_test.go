package storage_test

import (
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
	"hearth/roomserver/storage"
)

// firstMigrations are the schema's files up to a number.
func firstMigrations(t *testing.T, last string) fs.FS {
	t.Helper()
	all := storage.Migrations()
	names, err := fs.Glob(all, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	some := fstest.MapFS{}
	for _, name := range names {
		if name[:4] > last {
			continue
		}
		text, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		some[name] = &fstest.MapFile{Data: text}
	}
	return some
}

func TestHostsOfOlderDatabase(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		e.Options.Component, e.Options.Policy = "roomserver", store.Chained
		e.Options.Migrations = firstMigrations(t, "0003")
		db, err := store.Open(t.Context(), e.Options)
		if err != nil {
			t.Fatal(err)
		}
		write := func(sql string, args ...any) {
			t.Helper()
			if err := db.Write(t.Context(), func(tx *store.Tx) error { return tx.Exec(sql, args...) }); err != nil {
				t.Fatal(err)
			}
		}
		for nid, name := range map[int64]string{1: "m.room.member", 2: "@ann:own.example:8448", 3: "@b=o/b:own.example:8448", 4: "@cy-0:own.example:8448"} {
			write(`INSERT INTO name (nid, s) VALUES ($1, $2)`, nid, name)
		}
		for _, m := range [][3]int64{{2, 1, storage.MembershipJoin}, {3, 1, storage.MembershipJoin}, {4, 1, storage.MembershipLeave}, {4, 2, storage.MembershipInvite}} {
			write(`INSERT INTO member (user_nid, room, membership, nid, sender, forgotten) VALUES ($1, $2, $3, 1, 1, 0)`, m[0], m[1], m[2])
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		e.Options.Migrations = storage.Migrations()
		s := storage.Store{DB: storetest.Open(t, e.Options)}
		for room, want := range map[int64]map[string]int64{1: {"own.example:8448": 2}, 2: {}} {
			got, err := s.Hosts(t.Context(), room)
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("room %d: %v, %v; want %v", room, got, err, want)
			}
		}
	})
}
