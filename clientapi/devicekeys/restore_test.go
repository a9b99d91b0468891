package devicekeys_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/clientapi"
	"hearth/clientapi/userapi"
	"hearth/internal/store/storetest"
)

// copyFiles copies the files of a folder whose names begin with a prefix into another one.
func copyFiles(t *testing.T, from, to, prefix string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), prefix) {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, d.Name()), body, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restoring is a house with claimed keys whose database was copied before.
func restoring(t *testing.T) (h *house, a *device, backup string) {
	h = newHouse(t, storetest.SQLite(t).Options, true)
	a = h.user("alice", "PHONE")
	a.upload(0, 10)
	a.fallback("f")
	a.claim() // k0000
	h.shut()
	backup = t.TempDir()
	copyFiles(t, h.o.DataDir, backup, "userstore")
	h.open()
	return h, a, backup
}

func TestAnOlderCopyGivesNoKeyAgain(t *testing.T) {
	h, a, backup := restoring(t)
	if got := a.claim(); got != "signed_curve25519:k0001" {
		t.Fatal(got)
	}
	a.upload(10, 20)
	a.send("1", 1, a.user+"/PHONE")
	last := a.sync(0, 0).Last
	h.shut()
	copyFiles(t, backup, h.o.DataDir, "userstore.db")
	h.open()
	if s := a.sync(0, 0); s.OneTimeKeys["signed_curve25519"] != 0 || len(s.UnusedFallback) != 0 {
		t.Errorf("after the restore: %+v", s)
	}
	if got := a.claim(); got != "signed_curve25519:f" { // rather a key that may be used twice than none
		t.Errorf("claimed %q", got)
	}
	if n := a.upload(20, 25)["signed_curve25519"]; n != 5 {
		t.Errorf("%d keys", n)
	}
	if n := a.upload(1, 3)["signed_curve25519"]; n != 5 {
		t.Errorf("%d keys: an upload brought old ones back", n)
	}
	// A position that a client has seen is not given out again.
	a.send("2", 2, a.user+"/PHONE")
	if s := a.sync(last, last); len(s.Messages) != 1 {
		t.Errorf("a new message is lost: %+v", s)
	}
	h.restart()
	if n := a.upload(0, 0)["signed_curve25519"]; n != 5 {
		t.Errorf("%d keys after a further start", n)
	}
	// The same copy a second time, with a log that is longer than the first time.
	h.shut()
	copyFiles(t, backup, h.o.DataDir, "userstore.db")
	h.open()
	if n := a.sync(0, 0).OneTimeKeys["signed_curve25519"]; n != 0 {
		t.Errorf("%d keys after the second restore", n)
	}
}

func TestACopyThatIsNotOlderKeepsItsKeys(t *testing.T) {
	h, a, _ := restoring(t)
	for range 3 {
		h.restart()
	}
	h.shut()
	if err := os.Remove(filepath.Join(h.o.DataDir, "userstore.position")); err != nil {
		t.Fatal(err)
	}
	h.open()
	if got := a.claim(); got != "signed_curve25519:k0001" {
		t.Errorf("claimed %s", got)
	}
	h.shut()
	if err := os.WriteFile(filepath.Join(h.o.DataDir, "userstore.position"), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.open()
	if got := a.claim(); got != "signed_curve25519:k0002" {
		t.Errorf("claimed %s", got)
	}
}

func TestARestoreThatCannotBeNoticedIsTold(t *testing.T) {
	each(t, func(h *house) {
		if h.o.DataDir == "" {
			h.o.DataDir = t.TempDir() // as the program does with PostgreSQL
			h.restart()
		}
		a := h.user("alice", "PHONE")
		a.upload(0, 10)
		h.shut()
		if err := clientapi.MarkRestored(h.o.DataDir); err != nil {
			t.Fatal(err)
		}
		h.open()
		if n := a.sync(0, 0).OneTimeKeys["signed_curve25519"]; n != 0 {
			t.Errorf("%d keys", n)
		}
		a.upload(10, 12)
		h.restart()
		if n := call(h, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id}).Counts["signed_curve25519"]; n != 2 {
			t.Errorf("%d keys: the mark is heeded twice", n)
		}
	})
}
