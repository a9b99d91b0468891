package crash

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

// run runs a command of the program and returns what it wrote.
func run(t *testing.T, s *harness.Server, words ...string) (string, error) {
	t.Helper()
	out, err := s.Command(words...).CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, s *harness.Server, words ...string) {
	t.Helper()
	if out, err := run(t, s, words...); err != nil {
		t.Fatalf("hearth %s: %v\n%s", strings.Join(words, " "), err, out)
	}
}

// promised is what was acknowledged at a moment.
type promised struct {
	acks map[string][]Ack
}

func (r *record) promised() promised {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := promised{acks: map[string][]Ack{}}
	for name, acks := range r.acks {
		p.acks[name] = slices.Clone(acks)
	}
	return p
}

// judgeCopy compares a server that runs on a copy of the data with what was acknowledged
// before the copy was made.
func (l *load) judgeCopy(s *harness.Server, p promised) {
	l.t.Helper()
	h := &History{
		Attempts: maps.Clone(l.record.attempts), Acks: p.acks, Baseline: l.baseline,
		Messages: map[string][]Event{}, Views: map[string]map[string][]Event{"/messages backwards": {}},
		State: map[string]map[string]string{}, StateViews: map[string]map[string]map[string]string{},
	}
	client := s.As(l.senders[0].client)
	for _, room := range l.rooms {
		h.Messages[room] = l.history(client, room, "f")
		h.Views["/messages backwards"][room] = l.history(client, room, "b")
		h.State[room] = l.state(client, room)
	}
	for i, r := range l.readers { // they have forgotten everything
		fresh := newReader(fmt.Sprintf("fresh%d", i), s.As(r.client), filters[i], l.record, r.rng)
		l.drain(fresh)
		h.Views[fresh.name], h.StateViews[fresh.name] = fresh.kept.rooms, fresh.kept.state
	}
	l.judge(h)
}

// A backup that is made while users send holds everything that was acknowledged before it
// began, and nothing twice; the server that is put back from it works.
func TestBackupUnderLoad(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	seed, rng := choose(t)
	l := newLoad(t, func(name string) *harness.Client { return s.Register(t, name) }, seed,
		settings{senders: 6, rooms: 3, pace: 8 * time.Millisecond})
	l.start()
	backups := t.TempDir()
	for i := range max(3, *rounds/10) { // killed
		dir := filepath.Join(backups, fmt.Sprintf("killed%d", i))
		cmd := s.Command("backup", "--config", s.ConfigFile(), dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(between(rng, 0, 150*time.Millisecond))
		_ = cmd.Process.Kill() // an error means that it was faster
		_ = cmd.Wait()
		for _, name := range []string{dir, dir + ".unfinished"} {
			_, none := os.Stat(name)
			out, err := run(t, s, "backup", "verify", name)
			if err == nil && (none != nil || name != dir) {
				t.Errorf("half a backup was verified: %s", out)
			}
			if err != nil && none == nil && name == dir {
				t.Errorf("a backup that has its name is not whole: %s", out)
			}
		}
	}
	time.Sleep(time.Second)
	before := l.record.promised()
	dir := filepath.Join(backups, "good")
	begin := time.Now()
	mustRun(t, s, "backup", "--config", s.ConfigFile(), dir)
	took := time.Since(begin)
	after := l.record.promised()
	time.Sleep(300 * time.Millisecond)
	conclude(t, l)
	s.Stop()
	if count(after) <= count(before) {
		t.Errorf("nobody sent while the backup was made (%v)", took)
	}
	t.Logf("a backup took %v; %d acknowledgements before it, %d while it was made", took, count(before), count(after)-count(before))

	mustRun(t, s, "backup", "verify", dir)
	home := t.TempDir()
	mustRun(t, s, "restore", dir, filepath.Join(home, "data"))
	put := harness.Start(t, harness.Options{Dir: home})
	l.judgeCopy(put, before)
	if _, err := put.As(l.senders[0].client).SendText(l.rooms[0], "after the restore", "hello"); err != nil {
		t.Errorf("after the restore: %v", err)
	}
}

func count(p promised) (n int) {
	for _, acks := range p.acks {
		n += len(acks)
	}
	return n
}
