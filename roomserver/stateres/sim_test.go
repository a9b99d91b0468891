package stateres_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/stateres"
)

type stateMap = map[auth.StateKey]int64

// simEvent is an accepted event of a simulated room.
type simEvent struct {
	num      int64
	ev       *pdu.Event
	auth     []int64
	gen      int64
	rejected bool
	after    stateMap
}

// sim is a room whose history is made at random. It is also a stateres.Source.
type sim struct {
	t      testing.TB
	v      *pdu.RoomVersion
	r      *rand.Rand
	users  []string
	list   []*simEvent // by number, from 1
	byID   map[string]*simEvent
	roomID string
	clock  int64
	lean   bool // one state map, which grows
	nodes  int  // asked for
	bodies int
	calls  int
}

var simKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func (s *sim) get(num int64) *simEvent { return s.list[num-1] }

func (s *sim) Nodes(_ context.Context, ids []int64) ([]stateres.Node, error) {
	s.calls++
	out := make([]stateres.Node, len(ids))
	for i, id := range ids {
		e := s.get(id)
		s.nodes++
		out[i] = stateres.Node{Auth: e.auth, Gen: e.gen, Rejected: e.rejected,
			PowerLevels: e.ev.Type == "m.room.power_levels" && e.ev.StateKeyEquals("")}
	}
	return out, nil
}

func (s *sim) Events(_ context.Context, ids []int64) ([]*pdu.Event, error) {
	s.calls++
	out := make([]*pdu.Event, len(ids))
	for i, id := range ids {
		s.bodies++
		out[i] = s.get(id).ev
	}
	return out, nil
}

// stateOf makes a map of numbers an auth.State.
type stateOf struct {
	s *sim
	m stateMap
}

func (o stateOf) Event(eventType, stateKey string) *pdu.Event {
	if num := o.m[auth.StateKey{Type: eventType, StateKey: stateKey}]; num != 0 {
		return o.s.get(num).ev
	}
	return nil
}

func newSim(t testing.TB, v *pdu.RoomVersion, seed uint64, users int) *sim {
	s := &sim{t: t, v: v, r: rand.New(rand.NewPCG(seed, 9)), byID: map[string]*simEvent{}, roomID: "!r:a"}
	for i := range users {
		s.users = append(s.users, fmt.Sprintf("@u%d:%c", i, 'a'+i%3))
	}
	creator := s.users[0]
	content := fmt.Sprintf(`{"room_version":%q`, v.ID)
	if !v.CreatorIsSender {
		content += fmt.Sprintf(`,"creator":%q`, creator)
	}
	create := s.add(nil, stateMap{}, "m.room.create", creator, "", content+"}")
	if v.DomainlessRoomIDs {
		s.roomID = create.ev.RoomID
	}
	own := fmt.Sprintf(`{%q:100,%q:50,%q:50}`, s.users[0], s.users[1], s.users[2])
	if v.PrivilegedCreators {
		own = fmt.Sprintf(`{%q:50,%q:50}`, s.users[1], s.users[2])
	}
	s.must(creator, "m.room.member", creator, `{"membership":"join"}`)
	s.must(creator, "m.room.power_levels", "", `{"users":`+own+`,"state_default":0}`)
	s.must(creator, "m.room.join_rules", "", `{"join_rule":"public"}`)
	s.lean = users > 100
	for _, u := range s.users[1 : 1+len(s.users)*2/3] {
		s.must(u, "m.room.member", u, `{"membership":"join"}`)
	}
	return s
}

func (s *sim) last() *simEvent { return s.list[len(s.list)-1] }

// must adds an event after the last one.
func (s *sim) must(sender, typ, key, content string) *simEvent {
	s.t.Helper()
	e := s.try([]*simEvent{s.last()}, s.last().after, sender, typ, key, content)
	if e == nil {
		s.t.Fatalf("%s by %s is not allowed: %s", typ, sender, content)
	}
	return e
}

// try adds an event if the rules allow it in state before.
func (s *sim) try(prev []*simEvent, before stateMap, sender, typ, key, content string) *simEvent {
	s.t.Helper()
	ev, nums := s.build(prev, before, sender, typ, key, content)
	if s.byID[ev.EventID] != nil || auth.Check(ev, stateOf{s, before}) != nil {
		return nil
	}
	return s.insert(ev, nums, before)
}

func (s *sim) add(prev []*simEvent, before stateMap, typ, sender, key, content string) *simEvent {
	ev, nums := s.build(prev, before, sender, typ, key, content)
	return s.insert(ev, nums, before)
}

func (s *sim) build(prev []*simEvent, before stateMap, sender, typ, key, content string) (*pdu.Event, []int64) {
	s.t.Helper()
	s.clock += int64(s.r.IntN(4)) - 1 // ties and steps back
	t := pdu.Template{RoomID: s.roomID, Type: typ, Sender: sender, StateKey: &key, Content: []byte(content), OriginServerTS: 1000 + s.clock}
	if typ == "m.room.create" && s.v.DomainlessRoomIDs {
		t.RoomID = ""
	}
	for _, p := range prev {
		t.PrevEvents = append(t.PrevEvents, p.ev.Ref())
		t.Depth = max(t.Depth, p.ev.Depth+1)
	}
	var nums []int64
	for _, k := range auth.Select(s.v, typ, sender, &key, []byte(content)) {
		if num := before[k]; num != 0 {
			nums = append(nums, num)
			t.AuthEvents = append(t.AuthEvents, s.get(num).ev.Ref())
		}
	}
	ev, err := pdu.Build(s.v, t, pdu.Signer{ServerName: sender[strings.IndexByte(sender, ':')+1:], KeyID: "ed25519:1", Key: simKey})
	if err != nil {
		s.t.Fatal(err)
	}
	return ev, nums
}

func (s *sim) insert(ev *pdu.Event, nums []int64, before stateMap) *simEvent {
	e := &simEvent{num: int64(len(s.list)) + 1, ev: ev, auth: nums, gen: 1, after: before}
	if !s.lean {
		e.after = maps.Clone(before)
	}
	for _, a := range nums {
		e.gen = max(e.gen, s.get(a).gen+1)
	}
	e.after[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = e.num
	s.list = append(s.list, e)
	s.byID[ev.EventID] = e
	return e
}

// step adds a random event after random events; before is their resolved state.
func (s *sim) step(forks int, resolve func(sets []stateMap) stateMap) {
	prev := []*simEvent{s.last()}
	if s.r.IntN(3) == 0 {
		prev = nil
		for range 1 + s.r.IntN(forks) {
			p := s.list[max(0, len(s.list)-1-s.r.IntN(12))]
			if !slices.Contains(prev, p) {
				prev = append(prev, p)
			}
		}
	}
	before := prev[0].after
	if len(prev) > 1 {
		var sets []stateMap
		for _, p := range prev {
			sets = append(sets, p.after)
		}
		before = resolve(sets)
	}
	for range 8 {
		sender, typ, key, content := s.action(before)
		if s.try(prev, before, sender, typ, key, content) != nil {
			return
		}
	}
}

// action picks what somebody might want to do.
func (s *sim) action(before stateMap) (sender, typ, key, content string) {
	pick := func() string { return s.users[s.r.IntN(len(s.users))] }
	sender = pick()
	if s.r.IntN(2) == 0 {
		sender = s.users[s.r.IntN(3)]
	}
	switch s.r.IntN(9) {
	case 0:
		return sender, "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, len(s.list))
	case 1:
		return sender, "m.room.name", "", fmt.Sprintf(`{"name":"%d"}`, len(s.list))
	case 2:
		return sender, "m.room.join_rules", "", []string{`{"join_rule":"public"}`, `{"join_rule":"invite"}`}[s.r.IntN(2)]
	case 3:
		return sender, "m.room.power_levels", "", s.levels(before, sender, pick())
	case 4:
		return sender, "m.room.member", pick(), `{"membership":"ban"}`
	case 5:
		return sender, "m.room.member", pick(), `{"membership":"leave"}`
	case 6:
		return sender, "m.room.member", pick(), `{"membership":"invite"}`
	case 7:
		return sender, "m.room.member", sender, `{"membership":"leave"}`
	}
	return sender, "m.room.member", sender, fmt.Sprintf(`{"membership":"join","n":%d}`, len(s.list))
}

// levels changes one user's level.
func (s *sim) levels(before stateMap, sender, of string) string {
	st := stateOf{s, before}
	levels := auth.LevelsOf(s.v, st)
	creators := auth.Creators(st.Event("m.room.create", ""))
	var users []string
	for _, u := range s.users {
		level := levels.User(u)
		if u == of {
			level = []int64{0, 0, 50, 50, 100}[s.r.IntN(5)]
		}
		if s.v.PrivilegedCreators && slices.Contains(creators, u) || level == 0 {
			continue
		}
		users = append(users, fmt.Sprintf("%q:%d", u, level))
	}
	return fmt.Sprintf(`{"users":{%s},"state_default":%d}`, strings.Join(users, ","), levels.StateDefault)
}

// unconflicted is a stateres.State.
type unconflicted stateMap

func (u unconflicted) Get(eventType, stateKey string) int64 {
	return u[auth.StateKey{Type: eventType, StateKey: stateKey}]
}
func (u unconflicted) All() iter.Seq[int64] { return maps.Values(u) }

// split makes the input of a resolution.
func (s *sim) split(sets []stateMap) stateres.Input {
	in := stateres.Input{Version: s.v, Conflicted: make([][]int64, len(sets))}
	same := unconflicted{}
	for key, num := range sets[0] {
		all := true
		for _, set := range sets[1:] {
			all = all && set[key] == num
		}
		if all {
			same[key] = num
		}
	}
	for i, set := range sets {
		for key, num := range set {
			if same[key] == 0 {
				in.Conflicted[i] = append(in.Conflicted[i], num)
			}
		}
	}
	in.Unconflicted = same
	return in
}

func (s *sim) resolve(sets []stateMap) stateMap {
	s.t.Helper()
	in := s.split(sets)
	got, err := stateres.Resolve(context.Background(), s, in)
	if err != nil {
		s.t.Fatal(err)
	}
	out := maps.Clone(stateMap(in.Unconflicted.(unconflicted)))
	for i, e := range got {
		if out[e.StateKey] != 0 {
			s.t.Fatalf("%v is not in conflict", e.StateKey)
		}
		if i > 0 && (got[i-1].Type+"\x00"+got[i-1].StateKey.StateKey) >= (e.Type+"\x00"+e.StateKey.StateKey) {
			s.t.Fatal("the result is not sorted")
		}
		out[e.StateKey] = e.Event
	}
	return out
}

func (s *sim) describe(m stateMap) string {
	var lines []string
	for key, num := range m {
		e := s.get(num)
		lines = append(lines, fmt.Sprintf("%s|%s = %d (%s, ts %d, %s, auth %v)", key.Type, key.StateKey, num, e.ev.Sender, e.ev.OriginServerTS, e.ev.Content, e.auth))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
