package roomserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
)

func TestFilterByChildren(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		var said []string
		for i := range 40 {
			said = append(said, f.send(room, alice, fmt.Sprint(i), fmt.Sprint("tea ", i)))
		}
		thread, both, reference, gone := said[3], said[10], said[20], said[30]
		f.relate(room, bob, relThread, thread, nil)
		f.relate(room, bob, relAnnotation, both, map[string]any{"key": "+"})
		f.relate(room, carol, relThread, both, nil)
		f.relate(room, carol, relReference, reference, nil)
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: bob, EventID: f.relate(room, bob, relThread, gone, nil)})
		for name, c := range map[string]struct {
			rels, senders, want []string
		}{
			"a kind":                 {[]string{relThread}, nil, []string{thread, both}},
			"kinds":                  {[]string{relReference, relAnnotation}, nil, []string{both, reference}},
			"a sender":               {nil, []string{carol}, []string{both, reference}},
			"a kind from a sender":   {[]string{relThread}, []string{carol}, []string{both}},
			"of two children parts":  {[]string{relAnnotation}, []string{carol}, nil},
			"senders":                {[]string{relThread}, []string{carol, bob}, []string{thread, both}},
			"a kind that nobody has": {[]string{"org.example.none"}, nil, nil},
			"no kind":                {[]string{}, nil, nil},
			"no sender":              {[]string{relThread}, []string{}, nil},
			"a stranger":             {nil, []string{"@stranger:elsewhere"}, nil},
		} {
			filter := roomapi.EventFilter{RelatedByRelTypes: c.rels, RelatedBySenders: c.senders}
			for _, limit := range []int{1, 100} {
				got := walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, Limit: limit, Filter: filter})
				if !slices.Equal(got, c.want) {
					t.Errorf("%s by %d: %d events, want %d", name, limit, len(got), len(c.want))
				}
				got = walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, Limit: limit, Filter: filter, Backwards: true})
				slices.Reverse(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("%s backwards by %d: %d events, want %d", name, limit, len(got), len(c.want))
				}
			}
			around := do(f, roomapi.Context, roomapi.ContextRequest{RoomID: room, UserID: alice, EventID: said[39], Limit: 200, Filter: filter})
			if len(around.Before) != len(c.want) {
				t.Errorf("%s: %d events in the context, want %d", name, len(around.Before), len(c.want))
			}
			w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: alice, Limit: 100, Filter: filter})
			if err != nil || len(w.Timeline) != len(c.want) {
				t.Errorf("%s: %d events in the window, want %d: %v", name, len(w.Timeline), len(c.want), err)
			}
		}
		many := make([]string, roomapi.MaxRelatedBy+1)
		refused(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: alice, Filter: roomapi.EventFilter{RelatedBySenders: many}}, "M_INVALID_PARAM")
	})
}

// TestFilterByChildrenIsBounded asks with the longest lists for what no event has: pages
// end early, and the walk ends all the same.
func TestFilterByChildrenIsBounded(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
	var filter roomapi.EventFilter
	for i := range roomapi.MaxRelatedBy {
		filter.RelatedByRelTypes = append(filter.RelatedByRelTypes, fmt.Sprint("org.example.", i))
		filter.RelatedBySenders = append(filter.RelatedBySenders, fmt.Sprintf("@u%d:%s", i, strings.Repeat("x", 10)))
	}
	f.join(room, bob)
	for i := range 10 {
		parent := f.send(room, alice, fmt.Sprint(i), "tea")
		for j := range 10 { // gives every name a number
			f.relate(room, bob, filter.RelatedByRelTypes[i*10+j], parent, nil)
		}
	}
	by, err := f.s.relatedBy(t.Context(), &filter)
	if err != nil || len(by.f.Rels) != roomapi.MaxRelatedBy {
		t.Fatalf("%d kinds are known, %v", len(by.f.Rels), err)
	}
	by.f.Senders = by.f.Rels // numbers that no sender has
	r, _, done, err := f.s.view(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	v, err := f.s.visibility(t.Context(), r, alice)
	if err != nil {
		t.Fatal(err)
	}
	pages := 0
	for from := (roomapi.Point{}); ; pages++ {
		p, err := f.s.newPager(t.Context(), r, v, &roomapi.MessagesRequest{Backwards: true, From: from, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		p.related = &relatedBy{f: by.f, probes: maxProbes}
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if used := maxProbes - p.related.probes; used > maxProbes+by.f.Probes() || len(p.events) != 0 {
			t.Errorf("a page took %d probes and found %d events", used, len(p.events))
		}
		if !p.more {
			break
		}
		from = roomapi.Point{Ord: p.at}
	}
	if pages < 4 {
		t.Errorf("%d pages", pages)
	}
}
