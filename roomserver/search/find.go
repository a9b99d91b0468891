package search

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"

	"hearth/internal/store"
)

// Request says what to find.
type Request struct {
	Query *Query
	Rooms []string
	// Senders, if not nil, are those whose events are wanted.
	Senders []string
	Kinds   Kinds
	// Recent orders by falling position; otherwise by falling rank, then position.
	Recent bool
	// After is the hit before the first that is wanted; zero: none.
	After Hit
	Limit int
}

// Before reports whether a hit comes before another in the wanted order.
func (r *Request) Before(a, b Hit) bool {
	h := hits{recent: r.Recent}
	return h.before(a, b)
}

// Hit is a document that was found.
type Hit struct {
	RoomID string
	Pos    int64
	Rank   uint32 // in millionths
}

// Answer holds hits in the wanted order.
type Answer struct {
	Hits []Hit
	// Count is the number of documents before and after that match.
	Count int
	// More says that Limit cut the list.
	More bool
}

// roomsAtOnce is how many rooms one statement reads.
const roomsAtOnce = 64

// Find searches rooms.
func (x *Index) Find(ctx context.Context, req *Request) (*Answer, error) {
	s := newSearch(req)
	if s == nil {
		return &Answer{}, nil
	}
	stored := x.findInMemory(s)
	err := x.db.Read(ctx, func(r *store.Reader) error {
		rooms, err := x.numbers(r, req.Rooms)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(rooms, roomsAtOnce) {
			if err := s.findInTables(ctx, r, part, stored); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return s.answer(), nil
}

// numbered is a room with its number.
type numbered struct {
	room int64
	id   string
}

// numbers finds the numbers of rooms; those without are not indexed.
func (x *Index) numbers(r *store.Reader, ids []string) ([]numbered, error) {
	var rooms []numbered
	var missing []string
	for _, id := range ids {
		if room, ok := x.rooms.Get(id); ok {
			rooms = append(rooms, numbered{room, id})
		} else {
			missing = append(missing, id)
		}
	}
	for part := range slices.Chunk(missing, roomsAtOnce) {
		args := make([]any, roomsAtOnce)
		for i := range args {
			args[i] = part[min(i, len(part)-1)]
		}
		rows, err := r.Query(`SELECT room, id FROM room WHERE id IN (`+placeholders(1, roomsAtOnce)+`)`, args...)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var n numbered
			if err := rows.Scan(&n.room, &n.id); err != nil {
				rows.Close()
				return nil, err
			}
			x.rooms.Put(n.id, n.room)
			rooms = append(rooms, n)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return rooms, nil
}

func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "$%d", first+i)
	}
	return b.String()
}

// search is one search at work.
type search struct {
	req     *Request
	senders []uint32
	without []uint32 // documents with one of these are not wanted
	kinds   []uint32 // if not empty, one of these must be there
	removed map[int64]bool
	top     hits
	count   int
	all     bool // more hits came than top may hold
	docs    []place
	score   []float32
	seen    []uint8
}

// newSearch returns nil if nothing can be found.
func newSearch(req *Request) *search {
	s := &search{req: req, top: hits{recent: req.Recent}, removed: make(map[int64]bool)}
	if req.Query.Empty() || req.Kinds&Any == 0 || req.Senders != nil && len(req.Senders) == 0 {
		return nil
	}
	for _, sender := range req.Senders {
		s.senders = append(s.senders, hash(senderPrefix, sender))
	}
	for _, k := range []struct {
		kind   Kinds
		prefix string
	}{{Name, namePrefix}, {Topic, topicPrefix}} {
		h := hash(k.prefix, "")
		switch {
		case req.Kinds&k.kind == 0:
			s.without = append(s.without, h)
		case req.Kinds&Body == 0:
			s.kinds = append(s.kinds, h)
		}
	}
	return s
}

// findInMemory searches what is not in the tables, and returns up to where the tables
// are to be believed.
func (x *Index) findInMemory(s *search) (stored int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range []*memory{&x.moving, &x.fresh} {
		for _, id := range s.req.Rooms {
			for _, pos := range m.removed[id] {
				s.removed[pos] = true
			}
		}
	}
	for _, m := range []*memory{&x.moving, &x.fresh} {
		for _, id := range s.req.Rooms {
			for i := range m.docs[id] {
				s.try(id, &m.docs[id][i])
			}
		}
	}
	return x.stored
}

// try looks at a single document.
func (s *search) try(room string, d *document) {
	has := func(term uint32) bool { return d.count(term) > 0 }
	if slices.ContainsFunc(s.without, has) || len(s.kinds) > 0 && !slices.ContainsFunc(s.kinds, has) ||
		s.senders != nil && !slices.ContainsFunc(s.senders, has) {
		return
	}
	total := float32(0)
	for _, term := range s.req.Query.terms {
		n := d.count(term)
		if n == 0 {
			return
		}
		total += weight(n, d.length)
	}
	s.hit(room, d.pos, total)
}

// usual is the number of words of a usual message.
const usual = 12

// weight is how much a term that stands n times in a text of some length says of it
// (Okapi BM25 without the rareness of the term, which changes with every message and
// so would change the order between two pages).
func weight(n, length uint32) float32 {
	const k, b = 1.2, 0.75
	return float32(n) * (k + 1) / (float32(n) + k*(1-b+b*float32(length)/usual))
}

// hit counts a document and keeps it if it is among the first.
func (s *search) hit(room string, pos int64, total float32) {
	if s.removed[pos] {
		return
	}
	s.count++
	h := Hit{room, pos, uint32(total / float32(len(s.req.Query.terms)) * 1e6)}
	if s.req.After.Pos != 0 && !s.top.before(s.req.After, h) {
		return
	}
	switch {
	case len(s.top.list) < s.req.Limit:
		heap.Push(&s.top, h)
	case s.top.before(h, s.top.list[0]):
		s.top.list[0] = h
		heap.Fix(&s.top, 0)
		s.all = true
	default:
		s.all = true
	}
}

func (s *search) answer() *Answer {
	slices.SortFunc(s.top.list, func(a, b Hit) int {
		if s.top.before(a, b) {
			return -1
		}
		return 1
	})
	return &Answer{Hits: s.top.list, Count: s.count, More: s.all}
}

// hits is a heap with the last hit at its top.
type hits struct {
	list   []Hit
	recent bool
}

// before reports whether a comes before b in the answer.
func (h *hits) before(a, b Hit) bool {
	if !h.recent && a.Rank != b.Rank {
		return a.Rank > b.Rank
	}
	return cmp.Compare(a.Pos, b.Pos) > 0
}

func (h *hits) Len() int           { return len(h.list) }
func (h *hits) Less(i, j int) bool { return h.before(h.list[j], h.list[i]) }
func (h *hits) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *hits) Push(v any)         { h.list = append(h.list, v.(Hit)) }
func (h *hits) Pop() any           { panic("search: hits are never taken out one by one") }
