package devicekeys_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/account"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/store/storetest"
)

// childDir tells a test binary to be the process that is killed.
const childDir = "HEARTH_DEVICEKEYS_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child sends messages with the numbers from its argument on and claims keys, without
// end. It says on its output what was answered.
func child(dir string) error {
	ctx := context.Background()
	b, err := bus.Connect(ctx, bus.Options{Local: true})
	if err != nil {
		return err
	}
	if _, err := account.New(ctx, account.Deps{Bus: b, ServerName: "test", DataDir: dir, Now: time.Now, MinPasswordLength: 8}); err != nil {
		return err
	}
	next, err := strconv.Atoi(os.Getenv(childDir + "_NEXT"))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 8)
	for range 4 {
		go func() {
			for {
				answer, err := userapi.ClaimKeys.Do(ctx, b, &userapi.ClaimKeysRequest{Claims: []userapi.KeyClaim{
					{UserID: "@bob:test", DeviceID: "PHONE", Algorithm: "signed_curve25519"},
				}})
				if err != nil {
					failed <- err
					return
				}
				fmt.Println("claimed " + answer.Keys[0].Name)
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	go func() {
		for n := next; ; n++ {
			_, err := userapi.SendToDevice.Do(ctx, b, &userapi.SendToDeviceRequest{
				Sender: "@alice:test", SenderDevice: "PHONE", Type: "m.test", TxnID: fmt.Sprint(n),
				Messages: map[string]map[string]json.RawMessage{"@bob:test": {"*": json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}},
			})
			if err != nil {
				failed <- err
				return
			}
			fmt.Printf("sent %d\n", n)
		}
	}()
	return <-failed
}

// TestKills sends and claims through many kills: each message is there once and in
// order, and no key is given out twice.
func TestKills(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t).Options, true)
	h.user("alice", "PHONE")
	bob := h.user("bob", "PHONE")
	bob.upload(0, 900)
	h.shut()
	next, claimed := 0, map[string]int{}
	var received []int
	after, acked := int64(0), int64(0)
	for range 20 {
		next = killed(t, h.o.DataDir, next, claimed)
		h.open()
		// The device reads some, and the answer that follows is lost sometimes.
		for range rand.IntN(4) {
			s := bob.sync(after, acked)
			if rand.IntN(3) == 0 {
				continue
			}
			for _, m := range s.Messages {
				var e struct{ Content struct{ N int } }
				if err := json.Unmarshal(m, &e); err != nil {
					t.Fatal(err)
				}
				received = append(received, e.Content.N)
			}
			after, acked = s.Last, s.Last
		}
		h.shut()
	}
	h.open()
	rest, _ := bob.numbers(after, true)
	received = append(received, rest...)
	// The last message may have been stored without an answer.
	if n := len(received); n < next || n > next+1 || !slices.Equal(received, span(0, n)) {
		t.Errorf("%d messages were answered, %d came: %v", next, len(received), received[max(0, len(received)-10):])
	}
	if len(claimed) < 30 {
		t.Errorf("only %d keys were claimed", len(claimed))
	}
	for name, n := range claimed {
		if n > 1 && name != "" {
			t.Errorf("%s was given out %d times", name, n)
		}
	}
	t.Logf("%d messages, %d keys", len(received), len(claimed))
}

// killed runs a child for a moment and kills it. It returns the number after the last
// message that was answered.
func killed(t *testing.T, dir string, next int, claimed map[string]int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childDir+"_NEXT="+strconv.Itoa(next))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // it was killed
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "ready":
			time.AfterFunc(time.Duration(30+rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		case "claimed":
			claimed[rest]++
		case "sent":
			n, err := strconv.Atoi(rest)
			if err != nil || n != next {
				t.Fatalf("answered %q, want %d", rest, next)
			}
			next++
		default:
			t.Fatal(lines.Text())
		}
	}
	return next
}
