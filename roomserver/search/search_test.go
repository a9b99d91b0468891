package search

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hearth/internal/bus"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		query, text string
		want        bool
	}{
		{"Martians men", "about MEN, and martians", true},
		{"martians women", "about men and martians", false},
		{"ant", "elephant", false},
		{"ＣＡＦÉ", "un cafe\u0301 s'il vous plaît", true},
		{"straße", "STRASSE", true},
		{"ﬁle", "a file", true},
		{"report", "see Report_final.pdf", true},
		{"final.pdf", "see Report_final.pdf", true},
		{"привет", "Привет, мир", true},
		{"猫", "黒猫が好き", true},
		{"東京都", "東京都に住む", true},
		{"東京都", "京都と東京", false}, // both pairs are there, the word is not
		{"カタカナ", "ﾊﾝｶｸｶﾀｶﾅ", true},
		{"서울", "서울에서 만나요", true},
		{"สวัสดี", "ครับสวัสดีครับ", true},
		{"matrix 房间", "一个Matrix房间", true},
		{"🎉", "hooray 🎉️!", true},
		{"می\u200cخواهم", "میخواهم", true},
		{"...", "...", false},
		{"", "anything", false},
	} {
		q := ParseQuery(c.query)
		if got := q.Match([]string{c.text}); got != c.want {
			t.Errorf("%q in %q: %v, want %v", c.query, c.text, got, c.want)
		}
		d := index(1, "@a:x", Body, []string{c.text})
		all := !q.Empty() && !slices.ContainsFunc(q.terms, func(term uint32) bool { return d.count(term) == 0 })
		if c.want && !all {
			t.Errorf("%q in %q: not found by the terms", c.query, c.text)
		}
	}
	if got := ParseQuery("Two two 東京 Words").Highlights(); !slices.Equal(got, []string{"two", "words", "東京"}) {
		t.Errorf("highlights are %q", got)
	}
}

func TestTexts(t *testing.T) {
	empty, other := "", "x"
	for _, c := range []struct {
		typ     string
		key     *string
		content string
		want    []string
	}{
		{"m.room.message", nil, `{"body":"hi"}`, []string{"hi"}},
		{"m.room.message", &empty, `{"body":"hi"}`, nil},
		{"m.room.message", nil, `{"body":7}`, nil},
		{"m.room.message", nil, `{}`, nil},
		{"m.room.encrypted", nil, `{"body":"hi"}`, nil},
		{"m.room.name", &empty, `{"name":"Den"}`, []string{"Den"}},
		{"m.room.name", &other, `{"name":"Den"}`, nil},
		{"m.room.topic", &empty, `{"topic":"T","m.topic":{"m.text":[{"mimetype":"text/html","body":"<b>"},{"body":"plain"}]}}`, []string{"T", "plain"}},
		{"m.room.topic", &empty, `{"topic":"T","m.topic":{"m.text":[{"mimetype":"text/plain","body":"T"}]}}`, []string{"T"}},
		{"m.room.topic", &empty, `{"topic":"T","m.topic":{"m.text":5}}`, []string{"T"}},
		{"m.room.topic", &empty, `{"topic":"T","m.topic":[null,5]}`, []string{"T"}},
	} {
		e := &roomapi.Event{Type: c.typ, StateKey: c.key, JSON: []byte(`{"content":` + c.content + `}`)}
		if _, got := Texts(e); !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.typ, c.content, got, c.want)
		}
	}
}

func TestSelection(t *testing.T) {
	each(t, func(t *testing.T, open func() *Index) {
		x := open()
		defer x.Close()
		key := ""
		x.take(t,
			said(1, "!a", "@a:x", "apple"),
			said(2, "!b", "@b:x", "apple pie apple"),
			entry(3, "!a", "@a:x", "m.room.name", &key, map[string]any{"name": "Apple"}),
			entry(4, "!a", "@b:x", "m.room.topic", &key, map[string]any{"topic": "apple trees"}),
		)
		all := []string{"!a", "!b", "!unknown"}
		check := func(when string) {
			for _, c := range []struct {
				name string
				req  Request
				want []int64
			}{
				{"recent", Request{Rooms: all, Recent: true}, []int64{4, 3, 2, 1}},
				{"rank", Request{Rooms: all}, []int64{2, 3, 1, 4}},
				{"a room", Request{Rooms: []string{"!b"}}, []int64{2}},
				{"no room", Request{}, []int64{}},
				{"a sender", Request{Rooms: all, Senders: []string{"@b:x", "@c:x"}, Recent: true}, []int64{4, 2}},
				{"no sender", Request{Rooms: all, Senders: []string{}}, []int64{}},
				{"bodies", Request{Rooms: all, Kinds: Body, Recent: true}, []int64{2, 1}},
				{"names", Request{Rooms: all, Kinds: Name}, []int64{3}},
				{"names and topics of a sender", Request{Rooms: all, Kinds: Name | Topic, Senders: []string{"@b:x"}}, []int64{4}},
				{"bodies and topics", Request{Rooms: all, Kinds: Body | Topic, Recent: true}, []int64{4, 2, 1}},
			} {
				c.req.Query = ParseQuery("apple")
				if got := x.positions(t, c.req); !slices.Equal(got, c.want) {
					t.Errorf("%s, %s: %v, want %v", when, c.name, got, c.want)
				}
			}
		}
		check("in memory")
		x.store(t)
		check("in the tail")
		for pos := int64(5); pos < 700; pos++ {
			x.take(t, said(pos, []string{"!a", "!b"}[pos%2], "@c:x", "filler"))
		}
		x.store(t)
		check("in blocks")
	})
}

// TestLikeAModel drives the index with random messages, redactions, removals and
// restarts, and compares each answer with a list of what it should hold.
func TestLikeAModel(t *testing.T) {
	each(t, func(t *testing.T, open func() *Index) {
		x := open()
		defer func() { x.Close() }()
		rnd := rand.New(rand.NewPCG(3, 4))
		words := strings.Fields("ape bee cat dog eel fox gnu hen 熊猫 猫")
		type message struct {
			room string
			text []string
		}
		model := map[int64]message{}
		rooms := []string{"!a", "!b", "!c"}
		pos := int64(0)
		anyPos := func() int64 { return 1 + rnd.Int64N(max(pos, 1)) }
		for range 60 {
			var batch []bus.Positioned[roomapi.Entry]
			for range rnd.IntN(300) {
				pos++
				m := message{room: rooms[min(rnd.IntN(6), 2)]}
				for range 1 + rnd.IntN(4) {
					m.text = append(m.text, words[rnd.IntN(len(words))])
				}
				e := said(pos, m.room, "@a:x", strings.Join(m.text, " "))
				model[pos] = m
				if gone := anyPos(); rnd.IntN(20) == 0 && model[gone].room == m.room {
					e.Entry.Redacted = &roomapi.Event{Pos: gone}
					delete(model, gone)
				}
				batch = append(batch, e)
			}
			if len(batch) > 0 {
				x.take(t, batch...)
			}
			switch rnd.IntN(8) {
			case 0, 1, 2, 3:
				x.store(t)
			case 4:
				gone := []int64{anyPos(), anyPos(), anyPos()}
				for _, room := range rooms {
					if err := x.RemoveEvents(t.Context(), room, gone); err != nil {
						t.Fatal(err)
					}
				}
				for _, pos := range gone {
					delete(model, pos)
				}
			case 5:
				x.store(t)
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
				x = open()
			}
			query := []string{words[rnd.IntN(len(words))], words[rnd.IntN(len(words))]}
			want := []int64{}
			for pos, m := range model {
				if m.room != "!c" && !slices.ContainsFunc(query, func(w string) bool { return !strings.Contains(strings.Join(m.text, " "), w) }) {
					want = append(want, pos)
				}
			}
			slices.Sort(want)
			slices.Reverse(want)
			got := x.pages(t, Request{Query: ParseQuery(strings.Join(query, " ")), Rooms: rooms[:2], Kinds: Any, Recent: true, Limit: 1 + rnd.IntN(200)})
			if !slices.Equal(got, want) {
				t.Fatalf("after %d messages, %q: found %d, want %d", pos, query, len(got), len(want))
			}
			ranked := x.pages(t, Request{Query: ParseQuery(strings.Join(query, " ")), Rooms: rooms[:2], Kinds: Any, Limit: 100})
			slices.Sort(ranked)
			slices.Reverse(ranked)
			if !slices.Equal(ranked, want) {
				t.Fatalf("by rank, after %d messages, %q: found %d, want %d", pos, query, len(ranked), len(want))
			}
		}
		if err := x.RemoveRoom(t.Context(), "!a"); err != nil {
			t.Fatal(err)
		}
		if got := x.positions(t, Request{Query: ParseQuery("ape"), Rooms: []string{"!a"}}); len(got) != 0 {
			t.Errorf("a removed room holds %v", got)
		}
	})
}

// pages reads all hits, a page at a time.
func (x *Index) pages(t testing.TB, req Request) []int64 {
	t.Helper()
	found := []int64{}
	for {
		a, err := x.Find(context.Background(), &req)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range a.Hits {
			found = append(found, h.Pos)
		}
		if !a.More {
			return found
		}
		req.After = a.Hits[len(a.Hits)-1]
	}
}

// What is taken out is nowhere in the tables.
func TestRemovedTermsAreGone(t *testing.T) {
	each(t, func(t *testing.T, open func() *Index) {
		x := open()
		defer x.Close()
		for pos := int64(1); pos <= 600; pos++ {
			x.take(t, said(pos, "!a", "@a:x", fmt.Sprintf("unique%d", pos)))
		}
		x.store(t)
		for _, pos := range []int64{1, 64, 512, 513, 600} { // in blocks of two sizes, and in the tail
			if err := x.RemoveEvents(t.Context(), "!a", []int64{pos}); err != nil {
				t.Fatal(err)
			}
			q := ParseQuery(fmt.Sprintf("unique%d", pos))
			s := newSearch(&Request{Query: q, Rooms: []string{"!a"}, Kinds: Any, Limit: 5})
			rooms := []numbered{{1, "!a"}}
			if err := x.db.Read(t.Context(), func(r *store.Reader) error { return s.findInTables(t.Context(), r, rooms, 1<<40) }); err != nil {
				t.Fatal(err)
			}
			if s.count != 0 {
				t.Errorf("position %d can still be found", pos)
			}
		}
	})
}

func TestFollowsTheLog(t *testing.T) {
	each(t, func(t *testing.T, open func() *Index) {
		b, err := bus.Connect(t.Context(), bus.Options{Local: true})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var log []bus.Positioned[roomapi.Entry]
		for pos := int64(1); pos <= 3000; pos++ {
			log = append(log, said(pos, "!a", "@a:x", fmt.Sprintf("word%d", pos%10)))
		}
		err = bus.ServeLog(b, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
			end := min(after+int64(limit), int64(len(log)))
			return log[min(after, end):end], int64(len(log)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		run := func(x *Index) (stop func()) {
			x.bus = b
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { x.Run(ctx); close(done) }()
			return func() {
				cancel()
				<-done
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		count := func(x *Index) int {
			if err := x.Wait(t.Context(), int64(len(log))); err != nil {
				t.Fatal(err)
			}
			return len(x.positions(t, Request{Query: ParseQuery("word3"), Rooms: []string{"!a"}}))
		}
		x := open()
		stop := run(x)
		if n := count(x); n != 300 {
			t.Errorf("found %d, want 300", n)
		}
		stop()
		x = open()
		if x.stored != 3000 {
			t.Errorf("a clean end leaves the cursor at %d", x.stored)
		}
		stop = run(x)
		if n := count(x); n != 300 {
			t.Errorf("after a restart: found %d, want 300", n)
		}
		stop()
		log = log[:1000] // the log was put back to an older state
		x = open()
		stop = run(x)
		defer stop()
		for x.cursor() > 1000 {
			if t.Context().Err() != nil {
				t.Fatal("the index was not built again")
			}
			pause(t.Context(), flushEvery/10)
		}
		if n := count(x); n != 100 {
			t.Errorf("built again: found %d, want 100", n)
		}
	})
}

func (x *Index) cursor() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.read
}
