package encryption

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// kills is how often the server is killed in a test.
const kills = 20

// killLater kills a process of the server, another one each time, after up to 60 ms,
// starts it again and returns then.
func killLater(s *harness.Server, turn int) {
	processes := s.Processes()
	p := processes[turn%len(processes)]
	time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	p.Kill()
	p.Restart()
}

// untilAnswered repeats a request whose answer got lost, as clients do.
func untilAnswered(do func() *harness.MatrixError) *harness.MatrixError {
	deadline := time.Now().Add(time.Minute)
	for {
		err := do()
		if err == nil || err.Status >= 400 && err.Status < 500 || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// oneTimeKeys are keys that need no signature, with the numbers from … to-1.
func oneTimeKeys(from, to int) map[string]string {
	keys := map[string]string{}
	for n := from; n < to; n++ {
		sum := sha256.Sum256(fmt.Append(nil, n))
		keys[fmt.Sprintf("curve25519:k%05d", n)] = base64.RawStdEncoding.EncodeToString(sum[:])
	}
	return keys
}

// TestClaimsThroughKills has 50 people claim 25 keys at the same time while the server
// is killed, twenty times. No key is given out twice, neither to two people nor again
// after a restart, and what was not given out is still there.
func TestClaimsThroughKills(t *testing.T) {
	each(t, func(t *testing.T, s *harness.Server) {
		const people, keys = 50, 25
		owner, other := s.Register(t, "owner"), s.Register(t, "other")
		var mu sync.Mutex
		given := map[string]int{}
		empty := 0
		claim := func() {
			var a struct {
				Keys map[string]map[string]map[string]string `json:"one_time_keys"`
			}
			body := map[string]any{"one_time_keys": map[string]any{owner.UserID: map[string]string{owner.DeviceID: "curve25519"}}}
			err := untilAnswered(func() *harness.MatrixError {
				_, err := other.Do(http.MethodPost, harness.Path("keys", "claim"), body, &a)
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("claim: %v", err)
			}
			found := a.Keys[owner.UserID][owner.DeviceID]
			for name := range found {
				given[name]++
			}
			if len(found) == 0 {
				empty++
			}
		}
		for round := range kills {
			body := map[string]any{"one_time_keys": oneTimeKeys(round*keys, (round+1)*keys)}
			for range 2 { // a repetition brings nothing back
				if err := untilAnswered(func() *harness.MatrixError {
					_, err := owner.Do(http.MethodPost, harness.Path("keys", "upload"), body, nil)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			var group sync.WaitGroup
			for range people {
				group.Go(claim)
			}
			killLater(s, round)
			group.Wait()
			if t.Failed() {
				return
			}
		}
		for name, n := range given {
			if n != 1 {
				t.Errorf("%s was given out %d times", name, n)
			}
		}
		// An answer that the kill took along is the only way for a key to get lost.
		if lost := kills*keys - len(given); lost > kills*people/2 || empty+len(given) != kills*people {
			t.Errorf("%d keys were given out, %d claims got none", len(given), empty)
		}
		t.Logf("%d of %d keys were given out, the answers with the others got lost; %d claims got none", len(given), kills*keys, empty)
	})
}

// TestMessagesThroughKills sends 1,000 messages to a device that is offline, which
// then reads them in small batches. The server is killed all the time. Each message
// comes once, in the order of its sender.
func TestMessagesThroughKills(t *testing.T) {
	each(t, func(t *testing.T, s *harness.Server) {
		const senders, each = 4, 250
		reader := s.Register(t, "reader")
		first, err := syncOnce(reader, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		var group sync.WaitGroup
		for i := range senders {
			c := s.Register(t, fmt.Sprintf("sender%d", i))
			group.Go(func() {
				for n := 1; n <= each; n++ {
					body := map[string]any{"messages": map[string]any{reader.UserID: map[string]any{"*": map[string]int{"n": n}}}}
					if err := untilAnswered(func() *harness.MatrixError {
						_, err := c.Do(http.MethodPut, harness.Path("sendToDevice", "m.key", fmt.Sprint(n)), body, nil)
						return err
					}); err != nil {
						t.Errorf("message %d: %v", n, err)
						return
					}
				}
			})
		}
		go func() { group.Wait(); close(done) }()
		turn := 0
		for sending := true; sending && turn < kills/2; turn++ {
			select {
			case <-done:
				sending = false
			default:
				killLater(s, turn)
			}
		}
		<-done
		if t.Failed() {
			return
		}
		got := map[string][]int{}
		count, batches, since := 0, 0, first.NextBatch
		for deadline := time.Now().Add(2 * time.Minute); count < senders*each && time.Now().Before(deadline); batches++ {
			var killed sync.WaitGroup
			if turn < kills {
				this := turn
				killed.Go(func() { killLater(s, this) })
				turn++
			}
			a, err := syncOnce(reader, since, 100*time.Millisecond)
			killed.Wait()
			if err != nil {
				continue // the batch comes again
			}
			since = a.NextBatch
			for _, e := range a.ToDevice.Events {
				got[e.Sender] = append(got[e.Sender], e.Content.N)
				count++
			}
		}
		want := make([]int, each)
		for i := range want {
			want[i] = i + 1
		}
		for i := range senders {
			if sender := fmt.Sprintf("@sender%d:localhost", i); !slices.Equal(got[sender], want) {
				t.Errorf("of %s: %v", sender, got[sender])
			}
		}
		a, err := syncOnce(reader, since, 0)
		if err != nil || len(a.ToDevice.Events) > 0 {
			t.Errorf("more came at the end: %v %v", a, err)
		}
		t.Logf("%d kills, %d messages in %d syncs", turn, count, batches)
	})
}
