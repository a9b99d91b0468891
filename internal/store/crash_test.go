package store_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

const childVariable = "HEARTH_STORE_TEST_CHILD"

// childOrder says what a child process does.
type childOrder struct {
	Do           string
	DataDir, URL string
	Round        int
}

// TestMain runs the child's part of the crash tests if this process is a child.
func TestMain(m *testing.M) {
	order := os.Getenv(childVariable)
	if order == "" {
		os.Exit(m.Run())
	}
	var o childOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		panic(err)
	}
	options := store.Options{Component: "storetest", DataDir: o.DataDir, URL: o.URL, Migrations: schema}
	if o.Do == "migrate" {
		options.Migrations = files("0001_first.sql", first, "0002_slow.sql", slow)
	}
	fmt.Println("open")
	db, err := store.Open(context.Background(), options)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("opened")
	if o.Do == "hold" {
		<-db.Lost()
		fmt.Println("lost")
		os.Exit(0)
	}
	var out sync.Mutex
	for writer := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", o.Round, writer, i)
				if err := db.Write(context.Background(), add(name)); err != nil {
					return
				}
				out.Lock()
				os.Stdout.WriteString("ack " + name + "\n") // one write, so that a kill cuts no line we count
				out.Unlock()
			}
		}()
	}
	select {}
}

// child starts this test binary again.
func child(t *testing.T, o childOrder) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(order))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

func await(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	var seen []string
	for lines.Scan() {
		if lines.Text() == want {
			return
		}
		seen = append(seen, lines.Text())
	}
	t.Fatalf("the child ended without %q: %q", want, seen)
}

// TestKilledProcessLosesNothingThatItAcknowledged kills a writing process 20 times.
func TestKilledProcessLosesNothingThatItAcknowledged(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		e.Options.Migrations = schema
		acknowledged := map[string]bool{}
		for round := range 20 {
			cmd, lines := child(t, childOrder{"write", e.Options.DataDir, e.Options.URL, round})
			await(t, lines, "opened")
			time.AfterFunc(time.Duration(20+round*7)*time.Millisecond, func() { cmd.Process.Kill() })
			for lines.Scan() {
				if name, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
					acknowledged[name] = true
				}
			}
			cmd.Wait()
		}
		db := storetest.Open(t, e.Options)
		stored := map[string]bool{}
		for _, name := range names(t, db) {
			stored[name] = true
		}
		for name := range acknowledged {
			if !stored[name] {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
		t.Logf("%d acknowledged, %d stored", len(acknowledged), len(stored))
		if len(acknowledged) < 200 {
			t.Errorf("only %d ops were acknowledged: the test shows nothing", len(acknowledged))
		}
		write(t, db, add("and it goes on"))
	})
}

// slow takes so long that a kill finds it at work.
const slow = `ALTER TABLE item ADD COLUMN more TEXT;
INSERT INTO item (pos, name) VALUES (-1, 'half');
INSERT INTO item (pos, name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT i, 'x' FROM n;
`

func TestKilledMigrationLeavesTheOldState(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		old := files("0001_first.sql", first)
		items(t, e.Options, old)
		cmd, lines := child(t, childOrder{Do: "migrate", DataDir: e.Options.DataDir, URL: e.Options.URL})
		await(t, lines, "open")
		time.Sleep(300 * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if cmd.Wait(); lines.Scan() {
			t.Fatalf("the migration was not at work: %s", lines.Text())
		}
		if n := items(t, e.Options, old); n != 0 {
			t.Errorf("%d items of the killed migration", n)
		}
		if n := items(t, e.Options, files("0001_first.sql", first, "0002_second.sql", second)); n != 1 {
			t.Errorf("%d items after the right migration", n)
		}
	})
}
