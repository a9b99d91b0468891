package account

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// roomLog is a room log of guest access events.
type roomLog struct {
	mu      sync.Mutex
	entries []bus.Positioned[roomapi.Entry]
	left    []string
	fail    int // so many leaves fail for now
}

func (l *roomLog) add(room, typ, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := ""
	l.entries = append(l.entries, bus.Positioned[roomapi.Entry]{Pos: int64(len(l.entries) + 1), Entry: &roomapi.Entry{
		Kind: roomapi.KindEvent, RoomID: room, Event: &roomapi.Event{
			Type: typ, StateKey: &key, JSON: json.RawMessage(`{"content":` + content + `}`),
		},
	}})
}

func (l *roomLog) head() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.entries))
}

func (l *roomLog) read(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := int64(len(l.entries))
	rest := l.entries[min(after, head):]
	return slices.Clone(rest[:min(limit, len(rest))]), head, nil
}

func (l *roomLog) leave(_ context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail > 0 {
		l.fail--
		return nil, merr.Unavailable("not now")
	}
	if req.RoomID == "!stuck:test" {
		return nil, merr.Forbidden("never")
	}
	l.left = append(l.left, req.RoomID+" "+req.Target)
	return &roomapi.MembershipResponse{}, nil
}

func (l *roomLog) gone() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.left)
}

func TestGuestsAreExpelled(t *testing.T) {
	each(t, func(h *house) {
		guest := call(h, userapi.Register, userapi.RegisterRequest{Guest: true})
		h.user("alice")
		log := &roomLog{}
		log.add("!before:test", guestAccess, `{"guest_access":"forbidden"}`)
		for _, err := range []error{
			bus.ServeLog(h.bus, roomapi.Log, log.read), bus.Handle(h.bus, roomapi.Leave, log.leave),
			bus.Handle(h.bus, roomapi.LocalMembers, func(_ context.Context, req *roomapi.LocalMembersRequest) (*roomapi.LocalMembersResponse, error) {
				if req.After == "" { // two pages
					return &roomapi.LocalMembersResponse{UserIDs: []string{"@alice:test", "@nobody:test"}, More: true}, nil
				}
				return &roomapi.LocalMembersResponse{UserIDs: []string{guest.UserID}}, nil
			}),
		} {
			if err != nil {
				h.t.Fatal(err)
			}
		}
		bus.NewPublisher(h.bus, roomapi.Log, log.head) // tells that there is more
		follow := func() (stop func()) {
			ctx, cancel := context.WithCancel(h.ctx)
			done := make(chan error, 1)
			go func() { done <- h.ExpelGuests(ctx) }()
			return func() {
				cancel()
				if err := <-done; err != nil {
					h.t.Error(err)
				}
			}
		}
		stop := follow()
		for end := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			log.add("!a:test", guestAccess, `{"guest_access":"forbidden"}`)
			if len(log.gone()) > 0 { // the follower has found its place
				break
			}
			if time.Now().After(end) {
				h.t.Fatal("nobody left")
			}
		}
		stop()
		first := log.gone()
		if slices.ContainsFunc(first, func(s string) bool { return s != "!a:test "+guest.UserID }) {
			h.t.Fatalf("%v", first)
		}
		log.mu.Lock()
		log.left, log.fail = nil, 1
		log.mu.Unlock()
		log.add("!b:test", guestAccess, `{"guest_access":"can_join"}`)
		log.add("!b:test", "m.room.topic", `{}`)
		log.add("!stuck:test", guestAccess, `{}`)
		log.add("!c:test", guestAccess, `{"guest_access":5}`)
		// What happened while nobody followed is not missed.
		defer follow()()
		for end := time.Now().Add(15 * time.Second); !slices.Contains(log.gone(), "!c:test "+guest.UserID); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				h.t.Fatalf("%v", log.gone())
			}
		}
		for _, left := range log.gone() {
			if left != "!a:test "+guest.UserID && left != "!c:test "+guest.UserID {
				h.t.Errorf("left: %s", left)
			}
		}
	})
}
