package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hearth/internal/backup"
	"hearth/internal/pdu"
	"hearth/internal/store"
)

// site is a data directory with two databases at work, media, a key and a configuration.
func site(t *testing.T) backup.Options {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"roomserver", "push"} {
		db, err := store.Open(t.Context(), store.Options{Component: name, DataDir: dir, Migrations: fstest.MapFS{
			"0001_t.sql": {Data: []byte(`CREATE TABLE t (n BIGINT PRIMARY KEY)`)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		for range 5 {
			if err := db.Write(t.Context(), func(tx *store.Tx) error { return tx.Exec(`INSERT INTO t (n) VALUES ($1)`, tx.Next()) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range map[string]string{
		"media/files/ab/cdef": "a picture", "media/tmp/1": "half a picture", "signing.key": "a key", "h.yaml": "server_name: example.org\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return backup.Options{
		DataDir: dir, KeyFile: filepath.Join(dir, "signing.key"), ConfigFile: filepath.Join(dir, "h.yaml"), Program: "1",
		Signer: pdu.Signer{ServerName: "example.org", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))},
		Now:    func() time.Time { return time.UnixMilli(1_700_000_000_000) },
	}
}

func made(t *testing.T, o backup.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := backup.Make(t.Context(), o, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBackupAndRestore(t *testing.T) {
	o := site(t)
	dir := made(t, o)
	m, err := backup.Verify(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Databases) != 2 || m.Databases[0].Component != "push" || m.Databases[1] != (backup.Database{Component: "roomserver", Version: 1, Position: 5}) {
		t.Errorf("databases: %+v", m.Databases)
	}
	data := filepath.Join(t.TempDir(), "data")
	var finished string
	if _, err := backup.Restore(t.Context(), dir, m.PublicKey, data, func(d string) error { finished = d; return nil }); err != nil {
		t.Fatal(err)
	}
	if finished == data || finished == "" {
		t.Errorf("finished in %q", finished)
	}
	for name, want := range map[string]string{"media/files/ab/cdef": "a picture", "signing.key": "a key", "hearth.yaml": "server_name: example.org\n"} {
		if got, err := os.ReadFile(filepath.Join(data, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "media/tmp/1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unfinished upload: %v", err)
	}
	s, err := store.TakeSnapshot(t.Context(), data, "roomserver")
	if err != nil {
		t.Fatal(err)
	}
	if s.Position != 5 {
		t.Errorf("position %d", s.Position)
	}
	s.Close()
	if _, err := backup.Restore(t.Context(), dir, "", data, func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a directory in use: %v", err)
	}
}

// Whatever is changed in a backup, it is no backup any more.
func TestBackupThatWasChanged(t *testing.T) {
	o := site(t)
	flip := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 1
			if err := os.Remove(path); err != nil { // it may be the server's own file
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(t *testing.T, dir string){
		"a database": flip("roomserver.db"), "a picture": flip("media/files/ab/cdef"), "the key": flip("signing.key"), "the manifest": flip("manifest.json"),
		"no manifest": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "manifest.json")) },
		"a file less": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "push.db")) },
		"a file more": func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, "other.db"), nil, 0o600) },
		"a link": func(t *testing.T, dir string) {
			os.Rename(filepath.Join(dir, "push.db"), dir+".db")
			os.Symlink(dir+".db", filepath.Join(dir, "push.db"))
		},
		"another key in the manifest": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "manifest.json")
			text, _ := os.ReadFile(path)
			key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32)).Public().(ed25519.PublicKey)
			own := o.Signer.Key.Public().(ed25519.PublicKey)
			text = bytes.ReplaceAll(text, []byte(base64.RawStdEncoding.EncodeToString(own)), []byte(base64.RawStdEncoding.EncodeToString(key)))
			os.WriteFile(path, text, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := made(t, o)
			change(t, dir)
			if _, err := backup.Verify(t.Context(), dir, ""); err == nil {
				t.Error("it was verified")
			}
			data := filepath.Join(t.TempDir(), "data")
			if _, err := backup.Restore(t.Context(), dir, "", data, func(string) error { return nil }); err == nil {
				t.Error("it was restored")
			}
			if left, _ := filepath.Glob(data + "*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Run("signed by somebody else", func(t *testing.T) {
		own := base64.RawStdEncoding.EncodeToString(o.Signer.Key.Public().(ed25519.PublicKey))
		o.Signer.Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))
		if _, err := backup.Verify(t.Context(), made(t, o), own); err == nil || !strings.Contains(err.Error(), "was signed with the key") {
			t.Errorf("got %v", err)
		}
	})
}

// A backup that failed or was interrupted leaves nothing that looks like one, and does not
// stand in the way of the next.
func TestBackupThatWasInterrupted(t *testing.T) {
	o := site(t)
	dir := filepath.Join(t.TempDir(), "copy")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := backup.Make(ended, o, dir); err == nil {
		t.Fatal("it was made")
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.MkdirAll(dir+".unfinished/media", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".unfinished/roomserver.db", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Verify(t.Context(), dir+".unfinished", ""); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("half a backup: %v", err)
	}
	if _, err := backup.Make(t.Context(), o, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Make(t.Context(), o, dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over a backup: %v", err)
	}
	if _, err := backup.Verify(t.Context(), dir, ""); err != nil {
		t.Error(err)
	}
}

func TestNothingToBackUp(t *testing.T) {
	o := site(t)
	o.DataDir = t.TempDir()
	if _, err := backup.Make(t.Context(), o, filepath.Join(t.TempDir(), "copy")); err == nil || !strings.Contains(err.Error(), "holds no database") {
		t.Errorf("got %v", err)
	}
	o.WithoutDatabases = true
	dir := made(t, o)
	if m, err := backup.Verify(t.Context(), dir, ""); err != nil || len(m.Databases) != 0 || len(m.Files) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}
