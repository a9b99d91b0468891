package roomserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"hearth/roomserver/roomapi"
)

// relate sends a message with m.relates_to.
func (f *fixture) relate(room, sender, rel, parent string, more map[string]any) string {
	f.t.Helper()
	relates := map[string]any{"rel_type": rel, "event_id": parent}
	content := map[string]any{"msgtype": "m.text", "body": rel, "m.relates_to": relates}
	typ := "m.room.message"
	for k, v := range more {
		switch k {
		case "key":
			relates[k], typ = v, "m.reaction"
		default:
			content[k] = v
		}
	}
	raw, _ := json.Marshal(content)
	return do(f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: sender, Type: typ, Content: raw}).EventID
}

// bundled is the m.relations of an event as a user sees it.
type bundled struct {
	Replace *struct {
		EventID string `json:"event_id"`
	} `json:"m.replace"`
	Thread *struct {
		Count        int  `json:"count"`
		Participated bool `json:"current_user_participated"`
		Latest       struct {
			EventID  string `json:"event_id"`
			Unsigned struct {
				Relations bundled `json:"m.relations"`
			} `json:"unsigned"`
		} `json:"latest_event"`
	} `json:"m.thread"`
	Reference *struct {
		Chunk []struct {
			EventID string `json:"event_id"`
		} `json:"chunk"`
	} `json:"m.reference"`
}

func (f *fixture) bundle(room, user, event string, ignored ...string) (b bundled) {
	f.t.Helper()
	e := do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: user, EventID: event, Ignored: ignored})
	if len(e.Relations) > 0 {
		if err := json.Unmarshal(e.Relations, &b); err != nil {
			f.t.Fatalf("%v: %s", err, e.Relations)
		}
	}
	return b
}

func TestAggregations(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		root := f.send(room, alice, "1", "root")
		edited := map[string]any{"m.new_content": map[string]string{"body": "better"}}
		f.relate(room, alice, relReplace, root, edited)
		f.relate(room, bob, relReplace, root, edited) // not the sender
		f.relate(room, alice, relReplace, root, nil)  // no new content
		edit := f.relate(room, alice, relReplace, root, edited)
		f.relate(room, alice, relReplace, edit, edited) // an edit of an edit
		first := f.relate(room, bob, relThread, root, nil)
		second := f.relate(room, carol, relThread, root, nil)
		secondEdit := f.relate(room, carol, relReplace, second, edited)
		ref1, ref2 := f.relate(room, bob, relReference, root, nil), f.relate(room, bob, relReference, root, nil)

		b := f.bundle(room, bob, root)
		if b.Replace == nil || b.Replace.EventID != edit {
			t.Errorf("replacement %+v, want %s", b.Replace, edit)
		}
		if b.Thread == nil || b.Thread.Count != 2 || !b.Thread.Participated || b.Thread.Latest.EventID != second {
			t.Errorf("thread %+v", b.Thread)
		} else if r := b.Thread.Latest.Unsigned.Relations.Replace; r == nil || r.EventID != secondEdit {
			t.Errorf("the latest event's edit is %+v", r)
		}
		if b.Reference == nil || len(b.Reference.Chunk) != 2 || b.Reference.Chunk[0].EventID != ref1 || b.Reference.Chunk[1].EventID != ref2 {
			t.Errorf("references %+v", b.Reference)
		}
		if b := f.bundle(room, alice, edit); b.Replace != nil {
			t.Error("an edit was edited")
		}
		if b := f.bundle(room, bob, root, carol); b.Thread.Count != 1 || b.Thread.Latest.EventID != first {
			t.Errorf("thread without ignored carol %+v", b.Thread)
		}
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: carol, EventID: second})
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: edit})
		b = f.bundle(room, carol, root)
		if b.Thread == nil || b.Thread.Count != 1 || b.Thread.Participated || b.Thread.Latest.EventID != first {
			t.Errorf("thread after a redaction %+v", b.Thread)
		}
		if b.Replace == nil || b.Replace.EventID == edit {
			t.Errorf("replacement after its redaction %+v", b.Replace)
		}
	})
}

func TestRelationsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		root := f.send(room, alice, "1", "root")
		child := f.relate(room, alice, relThread, root, nil)
		send := func(typ, content, code string) {
			t.Helper()
			refused(f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: alice, Type: typ, Content: []byte(content)}, code)
		}
		send("m.room.message", `{"m.relates_to":{"rel_type":"m.thread","event_id":"`+child+`"}}`, "M_UNKNOWN")
		f.relate(room, alice, relAnnotation, root, map[string]any{"key": "👍"})
		f.relate(room, alice, relAnnotation, root, map[string]any{"key": "👎"})
		send("m.reaction", `{"m.relates_to":{"rel_type":"m.annotation","event_id":"`+root+`","key":"👍"}}`, "M_DUPLICATE_ANNOTATION")
	})
}

func TestRelationsPages(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		root := f.send(room, alice, "1", "root")
		var thread, all []string
		for i := range 7 {
			child := f.relate(room, alice, relThread, root, nil)
			thread = append(thread, child)
			all = append(all, child, f.relate(room, alice, relAnnotation, child, map[string]any{"key": fmt.Sprint(i)}))
		}
		for _, limit := range []int{1, 3, 7, 50} {
			for _, backwards := range []bool{true, false} {
				for want, req := range map[*[]string]roomapi.RelationsRequest{
					&thread: {RelType: relThread}, &all: {Recurse: true},
				} {
					req.RoomID, req.UserID, req.EventID, req.Limit, req.Backwards = room, alice, root, limit, backwards
					got := f.children(req)
					if backwards {
						slices.Reverse(got)
					}
					if !slices.Equal(got, *want) {
						t.Errorf("limit %d, backwards %v, recurse %v: %d children, want %d", limit, backwards, req.Recurse, len(got), len(*want))
					}
				}
			}
		}
		none := f.children(roomapi.RelationsRequest{RoomID: room, UserID: alice, EventID: root, RelType: "org.unknown"})
		if len(none) != 0 {
			t.Errorf("children of an unknown type: %v", none)
		}
		refused(f, roomapi.Relations, roomapi.RelationsRequest{RoomID: room, UserID: bob, EventID: root}, "M_NOT_FOUND")
	})
}

func (f *fixture) children(req roomapi.RelationsRequest) (ids []string) {
	f.t.Helper()
	for range 100 {
		page := do(f, roomapi.Relations, req)
		for _, e := range page.Events {
			ids = append(ids, e.EventID)
		}
		if page.End.IsZero() {
			return ids
		}
		req.From = page.End
	}
	f.t.Fatal("the pages do not end")
	return nil
}

func TestThreadList(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		var roots []string
		for i := range 5 {
			roots = append(roots, f.send(room, alice, fmt.Sprint(i), "root"))
		}
		for _, root := range roots {
			f.relate(room, alice, relThread, root, nil)
		}
		f.relate(room, bob, relThread, roots[1], nil) // now the newest
		list := func(user string, participated bool, limit int) (ids []string) {
			req := roomapi.ThreadsRequest{RoomID: room, UserID: user, Participated: participated, Limit: limit}
			for {
				page := do(f, roomapi.Threads, req)
				for _, e := range page.Events {
					ids = append(ids, e.EventID)
				}
				if page.End.IsZero() {
					return ids
				}
				req.From = page.End
			}
		}
		want := []string{roots[1], roots[4], roots[3], roots[2], roots[0]}
		for _, limit := range []int{1, 2, 5, 100} {
			if got := list(bob, false, limit); !slices.Equal(got, want) {
				t.Errorf("threads by %d: %v, want %v", limit, got, want)
			}
		}
		if got := list(bob, true, 10); !slices.Equal(got, []string{roots[1]}) {
			t.Errorf("bob's threads: %v", got)
		}
	})
}
