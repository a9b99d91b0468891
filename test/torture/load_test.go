package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

const (
	tricklers = 1000
	// floods is how long the hostile clients are at work.
	floods = 10 * time.Second
	// healthy is what a send of somebody else may take, 99 of 100 times.
	healthy = time.Second
	// growth bounds what the process may grow by, in bytes; the race detector multiplies it.
	growth = 1 << 30
)

// trickle holds a connection as long as the server lets it: it sends a byte now and then, of
// the header or of the body, and connects again when it is thrown out.
func trickle(ctx context.Context, address string, body bool, n int) {
	text := "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: localhost\r\nX-Long: "
	if body {
		text = "POST /_matrix/client/v3/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{\"type\":\""
	}
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		for _, err = conn.Write([]byte(text)); err == nil && ctx.Err() == nil; _, err = conn.Write([]byte("x")) {
			pause(ctx, 500*time.Millisecond+time.Duration(n)*time.Millisecond/2)
		}
		_ = conn.Close() // it was of no use
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// memory returns the resident bytes of a process.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not tell how much memory a process has")
	return 0
}

// Clients that hold connections, open connections of sliding sync without end and flood a
// device with messages take neither the memory nor the time of others.
func TestHostileLoad(t *testing.T) {
	rounds(t, func(t *testing.T, rng *rand.Rand) {
		s := harness.Start(t, harness.Options{})
		alice, mallory, victim := s.Register(t, "alice"), s.Register(t, "mallory"), s.Register(t, "victim")
		room, err := alice.CreateRoom(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mallory.CreateRoom(nil); err != nil {
			t.Fatal(err)
		}
		process := s.Process("hearth")
		before := memory(t, process.PID())
		ctx, cancel := context.WithTimeout(t.Context(), floods)
		defer cancel()
		var group sync.WaitGroup
		address := strings.TrimPrefix(s.URL(), "http://")
		for i := range tricklers {
			group.Go(func() { trickle(ctx, address, i%2 == 0, i) })
		}
		opened, flooded := 0, 0
		group.Go(func() { opened = openConnections(ctx, mallory) })
		group.Go(func() { flooded = flood(ctx, mallory, victim) })

		var took []time.Duration
		most := before
		for n := 0; ctx.Err() == nil; n++ {
			begin := time.Now()
			if _, err := alice.SendText(room, fmt.Sprint(n), fmt.Sprint(rng.Uint64())); err != nil {
				t.Errorf("a healthy user's send: %v", err)
			}
			took = append(took, time.Since(begin))
			most = max(most, memory(t, process.PID()))
			pause(ctx, 50*time.Millisecond)
		}
		group.Wait()
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		t.Logf("%d sends of a healthy user: median %v, p99 %v, worst %v; %d connections of sliding sync, %d messages to a device; %d MiB, before %d MiB",
			len(took), took[len(took)/2], p99, took[len(took)-1], opened, flooded, most>>20, before>>20)
		if p99 > healthy {
			t.Errorf("a healthy user's send took %v (p99)", p99)
		}
		if most-before > growth {
			t.Errorf("the process grew by %d MiB", (most-before)>>20)
		}
		if opened < 20 || flooded < 20 {
			t.Errorf("that was no load: %d connections, %d messages", opened, flooded)
		}
		if _, err := victim.Sync("", 0); err != nil {
			t.Errorf("the flooded user's sync: %v", err)
		}
		s.Stop()
	})
}

// openConnections opens connections of sliding sync and returns how many.
func openConnections(ctx context.Context, c *harness.Client) (n int) {
	for ctx.Err() == nil {
		_, err := c.DoContext(ctx, "POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0", map[string]any{
			"conn_id": fmt.Sprint("hostile", n),
			"lists": map[string]any{"all": map[string]any{
				"ranges": [][]int{{0, 99}}, "timeline_limit": 20, "required_state": [][]string{{"*", "*"}},
			}},
		}, nil)
		if err == nil {
			n++
		}
	}
	return n
}

// flood sends messages to all devices of a user and returns how many were taken.
func flood(ctx context.Context, from, to *harness.Client) (n int) {
	content := map[string]any{"body": strings.Repeat("x", 4000)}
	for i := 0; ctx.Err() == nil; i++ {
		_, err := from.DoContext(ctx, "PUT", harness.Path("sendToDevice", "org.hearth.flood", fmt.Sprint(i)), map[string]any{
			"messages": map[string]any{to.UserID: map[string]any{"*": content}},
		}, nil)
		if err == nil {
			n++
		}
	}
	return n
}
