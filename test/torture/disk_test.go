package torture

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/test/harness"
)

const (
	// refusal is how soon a write must be refused while the disk is full.
	refusal = 2 * time.Second
	// recovery is how soon writes must work again when there is space.
	recovery = 30 * time.Second

	diskSize = 24 << 20
	reserve  = 6 << 20
)

// smallDisk mounts a file system of diskSize bytes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskSize)); err != nil {
		t.Fatalf("a full disk needs the right to mount a small file system (run as root, or under `unshare -rm`): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes to the ballast until only left bytes are free, at most.
func fill(t *testing.T, dir string, left int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if int64(st.Bavail)*int64(st.Bsize) <= left {
			return
		}
		if _, err := f.Write(make([]byte, st.Bsize)); err != nil {
			return // somebody else has used the last page
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
}

// upload returns the status and the time of an upload of n bytes.
func upload(t *testing.T, c *harness.Client, n int, rng *rand.Rand) (status int, uri string) {
	t.Helper()
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.Base()+"/_matrix/media/v3/upload", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // only for the message
	return resp.StatusCode, string(text)
}

// With a full disk reads go on, writes fail soon and clearly, files are refused first, and
// when there is space again everything works by itself. Nothing acknowledged is lost.
func TestDiskIsFull(t *testing.T) {
	rounds(t, func(t *testing.T, rng *rand.Rand) {
		disk := smallDisk(t)
		home := t.TempDir()
		s := harness.Start(t, harness.Options{Dir: home, Config: func(m map[string]any) {
			m["data_dir"], m["data_reserve"] = disk, fmt.Sprint(reserve)
		}})
		alice := s.Register(t, "alice")
		room, err := alice.CreateRoom(nil)
		if err != nil {
			t.Fatal(err)
		}
		var acked []string
		n := 0
		send := func() error {
			n++
			begin := time.Now()
			id, err := alice.SendText(room, fmt.Sprint(n), fmt.Sprintf("%d %x", n, rng.Uint64()))
			if took := time.Since(begin); took > refusal {
				t.Errorf("a send was answered after %v (%v)", took, err)
			}
			if err == nil {
				acked = append(acked, id)
			}
			return err
		}
		for range 20 {
			if err := send(); err != nil {
				t.Fatal(err)
			}
		}
		if status, text := upload(t, alice, 10<<10, rng); status != http.StatusOK {
			t.Fatalf("an upload: %d %s", status, text)
		}

		fill(t, disk, reserve-1<<20)
		status, text := upload(t, alice, 10<<10, rng)
		if status != http.StatusServiceUnavailable || !bytes.Contains([]byte(text), []byte("no space left for files")) {
			t.Errorf("an upload into the reserve: %d %s", status, text)
		}
		if err := send(); err != nil {
			t.Errorf("a message with the reserve: %v", err)
		}

		fill(t, disk, 0)
		refused := 0
		for range 3000 { // what is free inside of files is used up first
			err := send()
			if err == nil {
				continue
			}
			checkRefusal(t, err)
			if refused++; refused == 5 {
				break
			}
			fill(t, disk, 0)
		}
		if refused < 5 {
			t.Fatalf("only %d of %d sends were refused", refused, n)
		}
		checkReads(t, alice, room, acked)

		empty(t, disk)
		freed := time.Now()
		for err := send(); err != nil; err = send() {
			if time.Since(freed) > recovery {
				t.Fatalf("no send %v after there was space again: %v", recovery, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("%d sends acknowledged before; a send worked %v after there was space", len(acked), time.Since(freed).Round(time.Millisecond))
		if status, text := upload(t, alice, 10<<10, rng); status != http.StatusOK {
			t.Errorf("an upload afterwards: %d %s", status, text)
		}
		checkReads(t, alice, room, acked)
		s.Process("hearth").Restart()
		checkReads(t, alice, room, acked)
		s.Stop()
	})
}

// checkRefusal checks that a client is told that the server's disk is full, and may try
// again.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*harness.MatrixError)
	if !ok || e.Status != http.StatusServiceUnavailable || e.Code != "M_UNAVAILABLE" || !strings.Contains(e.Message, "full") {
		t.Errorf("a write to a full disk: %v", err)
	}
}

// checkReads checks that a room and a sync are answered and hold each acknowledged event
// once.
func checkReads(t *testing.T, c *harness.Client, room string, acked []string) {
	t.Helper()
	seen := map[string]int{}
	from := ""
	for {
		page, err := c.Messages(room, "b", from, "", 500)
		if err != nil {
			t.Fatalf("messages: %v", err)
		}
		for _, e := range page.Chunk {
			seen[e.EventID]++
		}
		if from = page.End; from == "" {
			break
		}
	}
	for _, id := range acked {
		if seen[id] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", id, seen[id])
		}
	}
	if _, err := c.Sync("", 0); err != nil {
		t.Errorf("a sync: %v", err)
	}
}
