package roomapi

import (
	"reflect"
	"testing"
	"time"
)

func sample() *Event {
	key := "@a:x"
	return &Event{
		EventID: "$e", Type: "m.room.member", Sender: "@a:x", StateKey: &key, OriginServerTS: 1234, Pos: 7, Ord: 7 << 20,
		JSON: []byte(`{"content":{"membership":"join"},"event_id":"$e"}`), Membership: "join", DeviceID: "D", TxnID: "t",
		ReplacesState: "$r", PrevContent: []byte(`{"membership":"invite"}`), PrevSender: "@b:x",
		RedactedBecause: []byte(`{"type":"m.room.redaction"}`), UserMembership: "join", Relations: []byte(`{"m.reference":{}}`),
	}
}

func TestWireRoundTrip(t *testing.T) {
	message := &Event{EventID: "$m", Type: "m.room.message", Sender: "@a:x", JSON: []byte(`{"content":{}}`)}
	entry := &Entry{Kind: KindEvent, RoomID: "!r", Event: sample(), Redacted: message}
	resolved := &Entry{
		Kind: KindEvent, RoomID: "!r", Event: sample(), State: []*Event{message, sample()}, Gone: []StateKey{{"m.room.member", "@a:x"}},
		Reset: true, Federate: true,
	}
	receipt := &Entry{Kind: KindReceipt, RoomID: "!r", Receipt: &Receipt{UserID: "@a:x", Kind: "m.read", EventID: "$e", ThreadID: "main", TS: 5, Pos: 9}}
	page := &MessagesResponse{Start: Point{Ord: -5}, End: Point{Pos: 3}, Events: []*Event{sample(), message}, State: []*Event{sample()}}
	context := &ContextResponse{Event: message, Before: []*Event{message}, After: []*Event{sample()}, End: Point{Ord: 9}}
	found := &SearchResponse{Count: 7, Highlights: []string{"a", ""}, Next: "n", Results: []*SearchResult{
		{RoomID: "!r", Rank: 0.5, Event: message, Start: Point{Ord: 1}, End: Point{Ord: 2}, Before: []*Event{sample()},
			Profiles: []SenderProfile{{UserID: "@a:x", Profile: Profile{DisplayName: "A"}}}},
		{RoomID: "!s", Event: message, After: []*Event{sample(), message}},
	}}
	for _, c := range []struct {
		in, out interface {
			AppendWire([]byte) []byte
			ParseWire([]byte) error
		}
	}{
		{sample(), new(Event)}, {message, new(Event)}, {entry, new(Entry)}, {resolved, new(Entry)}, {receipt, new(Entry)}, {&Entry{}, new(Entry)},
		{page, new(MessagesResponse)}, {context, new(ContextResponse)}, {found, new(SearchResponse)}, {&SearchResponse{}, new(SearchResponse)},
	} {
		wire := c.in.AppendWire(nil)
		if err := c.out.ParseWire(wire); err != nil {
			t.Errorf("%T: %v", c.in, err)
		}
		clear(wire) // the decoded value must not share its memory
		if !reflect.DeepEqual(c.in, c.out) {
			t.Errorf("%T: got %+v, want %+v", c.in, c.out, c.in)
		}
	}
}

func FuzzParseWire(f *testing.F) {
	f.Add(sample().AppendWire(nil))
	f.Add((&Entry{Kind: KindEvent, RoomID: "!r", Event: sample()}).AppendWire(nil))
	f.Add((&MessagesResponse{Events: []*Event{sample()}}).AppendWire(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if e.ParseWire(b) == nil {
			e.AppendJSON(nil, Render{RoomID: "!r", Now: time.UnixMilli(0)})
		}
		new(Entry).ParseWire(b)
		new(MessagesResponse).ParseWire(b)
		new(ContextResponse).ParseWire(b)
		new(SearchResponse).ParseWire(b)
	})
}

func TestAppendJSON(t *testing.T) {
	now := time.UnixMilli(2234)
	for name, c := range map[string]struct {
		render Render
		want   string
	}{
		"the sender's device": {
			Render{RoomID: "!r", UserID: "@a:x", DeviceID: "D", Now: now},
			`{"content":{"membership":"join"},"event_id":"$e","room_id":"!r","unsigned":{"age":1000,"membership":"join","m.relations":{"m.reference":{}},` +
				`"prev_content":{"membership":"invite"},"prev_sender":"@b:x","redacted_because":{"type":"m.room.redaction"},` +
				`"replaces_state":"$r","transaction_id":"t"}}`,
		},
		"another device, clock behind": {
			Render{UserID: "@a:x", DeviceID: "E", Membership: "leave", Now: time.UnixMilli(0)},
			`{"content":{"membership":"join"},"event_id":"$e","unsigned":{"age":0,"membership":"leave","m.relations":{"m.reference":{}},` +
				`"prev_content":{"membership":"invite"},"prev_sender":"@b:x","redacted_because":{"type":"m.room.redaction"},"replaces_state":"$r"}}`,
		},
	} {
		if got := string(sample().AppendJSON(nil, c.render)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestTimelineToken(t *testing.T) {
	for _, ord := range []int64{0, 1, -1, 1 << 40, -1 << 63, 1<<63 - 1} {
		p, err := ParseTimelineToken(TimelineToken(ord))
		if err != nil || p.Ord != ord {
			t.Errorf("order %d came back as %v, %v", ord, p, err)
		}
	}
	for _, bad := range []string{"", "t", "s1", "t-", "t!", "tzzzzzzzzzzzzzzzzzzzz"} {
		if _, err := ParseTimelineToken(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
