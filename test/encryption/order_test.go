// Package encryption tests what end-to-end encryption needs of whole servers.
package encryption

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/test/harness"
)

// answer is the part of /sync that the tests look at.
type answer struct {
	NextBatch string `json:"next_batch"`
	ToDevice  struct {
		Events []struct {
			Type    string
			Sender  string
			Content struct{ N int }
		}
	} `json:"to_device"`
	DeviceLists struct{ Changed, Left []string } `json:"device_lists"`
	OneTime     map[string]int                   `json:"device_one_time_keys_count"`
	Rooms       struct {
		Join map[string]struct {
			Timeline struct {
				Events []struct {
					Type    string
					Sender  string
					Content struct{ N int }
				}
			}
		}
	}
}

func syncOnce(c *harness.Client, since string, timeout time.Duration) (*answer, error) {
	var a answer
	path := harness.Path("sync") + fmt.Sprintf("?timeout=%d", timeout.Milliseconds())
	if since != "" {
		path += "&since=" + since
	}
	if _, err := c.Do(http.MethodGet, path, nil, &a); err != nil {
		return nil, err
	}
	return &a, nil
}

func sendToDevice(c *harness.Client, txn string, content any, to ...*harness.Client) error {
	messages := map[string]map[string]any{}
	for _, target := range to {
		messages[target.UserID] = map[string]any{target.DeviceID: content}
	}
	if _, err := c.Do(http.MethodPut, harness.Path("sendToDevice", "m.key", txn), map[string]any{"messages": messages}, nil); err != nil {
		return err
	}
	return nil
}

func each(t *testing.T, test func(t *testing.T, s *harness.Server)) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) { test(t, harness.Start(t, harness.Options{Wiring: w})) })
	}
}

const pairs = 1000

// TestKeysComeBeforeMessages lets senders send a key to a device and then, as soon as
// that is answered, a message that needs it. Under load no answer may have a message
// whose key came neither with it nor before.
func TestKeysComeBeforeMessages(t *testing.T) {
	each(t, func(t *testing.T, s *harness.Server) {
		const senders = 4
		reader := s.Register(t, "reader")
		room, err := reader.CreateRoom(map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		first, err := syncOnce(reader, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var clients []*harness.Client
		for i := range senders {
			c := s.Register(t, fmt.Sprintf("sender%d", i))
			if err := c.Join(room); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		load(t, s)
		var group sync.WaitGroup
		for i, c := range clients {
			group.Go(func() {
				for n := 1; n <= pairs/senders; n++ {
					txn := fmt.Sprintf("%d-%d", i, n)
					if err := sendToDevice(c, txn, map[string]int{"n": n}, reader); err != nil {
						t.Error(err)
						return
					}
					if _, err := c.Send(room, "m.room.encrypted", txn, map[string]int{"n": n}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		keys, messages := map[string]int{}, map[string]int{}
		seen, since := 0, first.NextBatch
		for deadline := time.Now().Add(2 * time.Minute); seen < pairs && time.Now().Before(deadline) && !t.Failed(); {
			a, err := syncOnce(reader, since, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			since = a.NextBatch
			for _, e := range a.ToDevice.Events {
				if e.Content.N != keys[e.Sender]+1 {
					t.Errorf("key %d of %s after %d", e.Content.N, e.Sender, keys[e.Sender])
				}
				keys[e.Sender] = e.Content.N
			}
			for _, e := range a.Rooms.Join[room].Timeline.Events {
				if e.Type != "m.room.encrypted" {
					continue
				}
				seen++
				messages[e.Sender] = max(messages[e.Sender], e.Content.N)
				if e.Content.N > keys[e.Sender] {
					t.Errorf("message %d of %s came with key %d", e.Content.N, e.Sender, keys[e.Sender])
				}
			}
			if seen < pairs && done(messages, pairs/senders, senders) { // the rest fell into a gap of the timeline
				break
			}
		}
		group.Wait()
		if !done(messages, pairs/senders, senders) || !done(keys, pairs/senders, senders) {
			t.Errorf("keys %v, messages %v", keys, messages)
		}
	})
}

func done(m map[string]int, n, senders int) bool {
	for _, last := range m {
		if last < n {
			return false
		}
	}
	return len(m) == senders
}

// load keeps the server busy until the test ends: with messages that nobody waits for,
// and account data, which moves the user log.
func load(t *testing.T, s *harness.Server) {
	other := s.Register(t, "load")
	quiet, err := other.CreateRoom(map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	t.Cleanup(func() { stop.Store(true); group.Wait() })
	for i := range 2 {
		group.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if _, err := other.SendText(quiet, fmt.Sprintf("%d-%d", i, n), "x"); err != nil && !stop.Load() {
					t.Error(err)
					return
				}
				if err := other.SetAccountData("m.load", json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))); err != nil && !stop.Load() {
					t.Error(err)
					return
				}
			}
		})
	}
}
