// Package retention proves, with the whole program, that what has expired is in none of its files.
package retention

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

type object = map[string]any

const (
	runPath     = "/_hearth/admin/v1/retention/run"
	markers     = 1000
	senders     = 8
	killedTimes = 5
)

// administrator registers the first user of a server as its administrator.
func administrator(t *testing.T, s *harness.Server) *harness.Client {
	t.Helper()
	c := harness.NewClient(s.AdminURL())
	var nonce struct{ Nonce string }
	const path = "/_synapse/admin/v1/register"
	if status, err := c.Do(http.MethodGet, path, nil, &nonce); status != 200 {
		t.Fatalf("nonce: %d %v", status, err)
	}
	mac := hmac.New(sha1.New, []byte(s.SharedSecret()))
	fmt.Fprintf(mac, "%s\x00boss\x00password of boss\x00admin", nonce.Nonce)
	var made struct {
		UserID   string `json:"user_id"`
		DeviceID string `json:"device_id"`
		Token    string `json:"access_token"`
	}
	status, err := c.Do(http.MethodPost, path, object{
		"nonce": nonce.Nonce, "username": "boss", "password": "password of boss", "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	}, &made)
	if status != 200 {
		t.Fatalf("register: %d %v", status, err)
	}
	c.UserID, c.DeviceID, c.Token = made.UserID, made.DeviceID, made.Token
	return c
}

// marker is a text that occurs nowhere else.
func marker(kind string, i int) string { return fmt.Sprintf("<<%s-%05d>>", kind, i) }

// upload stores a file whose bytes and name hold a marker.
func upload(c *harness.Client, m string) (uri string, err error) {
	path := c.Base() + "/_matrix/media/v3/upload?filename=" + url.QueryEscape("name "+m)
	req, err := http.NewRequest(http.MethodPost, path, strings.NewReader("the bytes of "+m))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Content-Type", "text/plain")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		URI string `json:"content_uri"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.URI == "" {
		return "", fmt.Errorf("upload: %s: %v", resp.Status, err)
	}
	return answer.URI, nil
}

// fill sends the markers of a kind: as texts, as edits, as files with their names, and as long texts.
func fill(t *testing.T, c *harness.Client, room, kind string) {
	t.Helper()
	root, err := c.SendText(room, kind+"root", "root of "+kind)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for w := range senders {
		wait.Go(func() {
			for i := w; i < markers; i += senders {
				m, typ, content := marker(kind, i), "m.room.message", object{}
				switch i % 4 {
				case 0:
					content = object{"msgtype": "m.text", "body": m}
				case 1:
					content = object{
						"msgtype": "m.text", "body": "* edit", "m.new_content": object{"msgtype": "m.text", "body": m},
						"m.relates_to": object{"rel_type": "m.replace", "event_id": root},
					}
				case 2:
					uri, err := upload(c, m)
					if err != nil {
						t.Errorf("upload %s: %v", m, err)
						return
					}
					content = object{"msgtype": "m.file", "body": "a file", "filename": m, "url": uri}
				case 3:
					content = object{"msgtype": "m.text", "body": strings.Repeat("long ", i), "formatted_body": m, "format": "org.matrix.custom.html"}
				}
				if _, err := c.Send(room, typ, fmt.Sprint(kind, i), content); err != nil {
					t.Errorf("send %s: %v", m, err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// found counts the markers of a kind in all files below a directory.
func found(t *testing.T, dir, kind string) (n int, where map[string]int) {
	t.Helper()
	seen, where := map[string]bool{}, map[string]int{}
	prefix := []byte("<<" + kind + "-")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for {
			at := bytes.Index(data, prefix)
			if at < 0 || at+len(prefix)+7 > len(data) {
				return nil
			}
			if m := string(data[at : at+len(prefix)+7]); strings.HasSuffix(m, ">>") {
				seen[m] = true
				where[filepath.Base(path)]++
			}
			data = data[at+1:]
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(seen), where
}

// rooms makes a room whose messages expire and one whose messages stay, both full.
func rooms(t *testing.T, s *harness.Server, lifetime time.Duration) (alice *harness.Client, short, long string) {
	t.Helper()
	alice = s.Register(t, "alice")
	make := func(name string) string {
		room, err := alice.CreateRoom(object{"preset": "public_chat", "name": name})
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	short, long = make("short"), make("long")
	fill(t, alice, short, "gone")
	fill(t, alice, long, "kept")
	if _, err := alice.SetState(short, "m.room.retention", "", object{"max_lifetime": lifetime.Milliseconds()}); err != nil {
		t.Fatal(err)
	}
	return alice, short, long
}

// said reports whether an event is one of those that fill has sent.
func said(e harness.Event) bool {
	return e.Type == "m.room.message" && !bytes.Contains(e.Content, []byte("the room goes on"))
}

// empty checks that a room shows nothing of what has expired, in answers of any kind.
func empty(t *testing.T, c *harness.Client, room string) {
	t.Helper()
	for _, dir := range []string{"b", "f"} {
		page, err := c.Messages(room, dir, "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Chunk {
			if said(e) {
				t.Errorf("messages shows %s", e.EventID)
				return
			}
		}
	}
	sync, err := c.Sync("", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range sync.Rooms.Join[room].Timeline.Events {
		if said(e) {
			t.Errorf("sync shows %s", e.EventID)
		}
	}
	var results struct {
		Categories struct {
			Events struct {
				Count int `json:"count"`
			} `json:"room_events"`
		} `json:"search_categories"`
	}
	status, merr := c.Do(http.MethodPost, "/_matrix/client/v3/search", object{"search_categories": object{"room_events": object{
		"search_term": "gone", "filter": object{"rooms": []string{room}},
	}}}, &results)
	if status != 200 || results.Categories.Events.Count != 0 {
		t.Errorf("search finds %d events: %d %v", results.Categories.Events.Count, status, merr)
	}
}

// alive checks that a room goes on.
func alive(t *testing.T, s *harness.Server, alice *harness.Client, room, name string) {
	t.Helper()
	bob := s.Register(t, name)
	if err := bob.Join(room); err != nil {
		t.Fatal(err)
	}
	id, err := bob.SendText(room, "alive"+name, "the room goes on")
	if err != nil {
		t.Fatal(err)
	}
	page, err := alice.Messages(room, "b", "", "", 5)
	if err != nil || len(page.Chunk) == 0 || page.Chunk[0].EventID != id {
		t.Errorf("what was sent after the purge is not the last: %v", err)
	}
}

type receipt struct {
	Rooms       int
	Events      int
	Bytes       int64
	Overwritten int64
}

func purge(t *testing.T, boss *harness.Client) (r receipt) {
	t.Helper()
	if status, err := boss.Do(http.MethodPost, runPath, object{}, &r); status != 200 {
		t.Fatalf("run: %d %v", status, err)
	}
	return r
}

// configure keeps limits out of the way, and the timetable.
func configure(m map[string]any) {
	m["rate_limits"] = object{"enabled": false}
	m["retention"] = object{"purge_interval": "0", "overwrite_interval": "0"}
}

// TestNothingIsLeft sends 1,000 markers that expire and 1,000 that stay, and looks through the whole directory of
// the server, before and after.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	s := harness.Start(t, harness.Options{Dir: dir, Config: configure})
	boss := administrator(t, s)
	const lifetime = 3 * time.Second
	alice, short, long := rooms(t, s, lifetime)
	if n, _ := found(t, dir, "gone"); n != markers {
		t.Fatalf("%d of %d markers are on disk before they expire", n, markers)
	}
	time.Sleep(lifetime)
	empty(t, alice, short)
	r := purge(t, boss)
	if r.Events < markers || r.Rooms != 1 || r.Overwritten == 0 {
		t.Errorf("the receipt is %+v", r)
	}
	if n, where := found(t, dir, "gone"); n != 0 {
		t.Errorf("%d markers are still on disk: %v", n, where)
	}
	if n, where := found(t, dir, "kept"); n != markers {
		t.Errorf("%d of %d markers to keep are on disk: %v", n, markers, where)
	}
	empty(t, alice, short)
	alive(t, s, alice, short, "bob")
	alive(t, s, alice, long, "carol")
	s.Processes()[0].Stop()
	if n, where := found(t, dir, "gone"); n != 0 {
		t.Errorf("%d markers are on disk after the stop: %v", n, where)
	}
	s.Processes()[0].Restart()
	empty(t, alice, short)
	alive(t, s, alice, short, "dave")
}

// TestKilledWhilePurging kills the server at moments of the purge. What is left of it is done by the next.
func TestKilledWhilePurging(t *testing.T) {
	dir := t.TempDir()
	s := harness.Start(t, harness.Options{Dir: dir, Config: configure})
	boss := administrator(t, s)
	const lifetime = time.Second
	alice, short, long := rooms(t, s, lifetime)
	time.Sleep(lifetime)
	for i := range killedTimes {
		go boss.Do(http.MethodPost, runPath, object{}, nil) // is cut off
		time.Sleep(time.Duration(i*12) * time.Millisecond)
		s.Processes()[0].Kill()
		s.Processes()[0].Restart()
		empty(t, alice, short)
	}
	purge(t, boss)
	if n, where := found(t, dir, "gone"); n != 0 {
		t.Errorf("%d markers are still on disk: %v", n, where)
	}
	if n, where := found(t, dir, "kept"); n != markers {
		t.Errorf("%d of %d markers to keep are on disk: %v", n, markers, where)
	}
	var audit struct {
		Entries []struct {
			Action string  `json:"action"`
			After  receipt `json:"after"`
		} `json:"entries"`
	}
	if status, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/audit?action=retention.deleted", nil, &audit); status != 200 {
		t.Fatalf("audit: %d %v", status, err)
	}
	told := 0
	for _, e := range audit.Entries {
		told += e.After.Events
	}
	if told < markers || told > markers+20 {
		t.Errorf("the receipts tell of %d events: %+v", told, audit.Entries)
	}
	alive(t, s, alice, short, "bob")
	alive(t, s, alice, long, "carol")
}
