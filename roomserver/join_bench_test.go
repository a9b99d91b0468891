package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// serveJoins lets a peer's room be joined on a bus.
func serveJoins(t testing.TB, b *bus.Bus, p *peer) {
	t.Helper()
	err := bus.Handle(b, remoteapi.MakeMembership, func(_ context.Context, req *remoteapi.MakeRequest) (*remoteapi.MakeResponse, error) {
		ev := p.build(req.UserID, memberType, &req.UserID, map[string]any{"membership": req.Membership})
		template := json.RawMessage(ev.JSON)
		return &remoteapi.MakeResponse{Destination: p.key.ServerName, RoomVersion: p.v.ID, Event: template}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bus.HandleStream(b, remoteapi.SendJoin, func(_ context.Context, req *remoteapi.SendJoinRequest, send func([]byte) error) error {
		w := remoteapi.NewJoinWriter(send)
		if err := w.Head(&remoteapi.JoinHeader{}); err != nil {
			return err
		}
		inState := map[string]bool{}
		for _, ev := range p.state {
			inState[ev.EventID] = true
			if err := w.State(pduwire.Of(ev)); err != nil {
				return err
			}
		}
		for id, ev := range p.known {
			if inState[id] && ev.Type == memberType && ev.Sender != p.user("carl") {
				continue
			}
			if err := w.Auth(pduwire.Of(ev)); err != nil {
				return err
			}
		}
		return w.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkJoinElsewhere joins a room of 10,000 members that another server has.
func BenchmarkJoinElsewhere(b *testing.B) {
	p := newPeer(b, "away.example", "11")
	p.create(p.user("carl"))
	for i := range 10_000 {
		p.member(p.user(fmt.Sprint("u", i)), p.user(fmt.Sprint("u", i)), "join")
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		b.StopTimer()
		f := newFixture(b, b.TempDir(), "", true)
		serveJoins(b, f.bus, p)
		f.s.log = logrus.NewEntry(logrus.New())
		peak := make(chan uint64)
		stop := make(chan struct{})
		go func() {
			var most uint64
			for {
				select {
				case <-stop:
					peak <- most
					return
				case <-time.After(20 * time.Millisecond):
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
			}
		}()
		begin := time.Now()
		b.StartTimer()
		do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: p.room, UserID: alice, Via: []string{p.key.ServerName}})
		w, err := roomapi.ReadWindow(b.Context(), f.bus, &roomapi.WindowRequest{RoomID: p.room, UserID: alice, Limit: 20, Lazy: true})
		b.StopTimer()
		if err != nil || w.Joined != 10_002 {
			b.Fatal(err, w)
		}
		close(stop)
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/join")
		b.ReportMetric(float64(<-peak-before.HeapAlloc)/(1<<20), "MB-peak")
		f.stop()
		b.StartTimer()
	}
}

func TestJoinIsReadInAnyOrder(t *testing.T) {
	p := newPeer(t, "away.example", "11")
	p.create(p.user("carl"))
	p.member(p.user("carl"), p.user("dora"), "invite")
	for i := range 50 { // each needs the one before
		p.send(p.user("carl"), "m.room.power_levels", ptr(""), map[string]any{"users": map[string]int{p.user("carl"): 100, p.user("dora"): i}})
	}
	p.member(p.user("dora"), p.user("dora"), "join")
	f := newFixture(t, t.TempDir(), "", true)
	serveJoins(t, f.bus, p)
	do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: p.room, UserID: alice, Via: []string{p.key.ServerName}})
	lr, err := f.s.lockRoom(t.Context(), p.room)
	if err != nil {
		t.Fatal(err)
	}
	defer lr.unlock()
	if got, want := lr.staged.view.Len(), len(p.state)+1; got != want {
		t.Errorf("the state has %d events, want %d", got, want)
	}
	if !lr.staged.hosts.has("away.example") || lr.staged.joined != 3 {
		t.Errorf("%d joined, hosts %v", lr.staged.joined, lr.staged.hosts.list())
	}
}
