package core

import (
	"context"
	"slices"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/syncapi/internal/model"
)

// ahead is a source whose user log has gone further than the engine knows.
type ahead struct {
	*model.Owners
	head int64
}

func (a *ahead) UserHead(context.Context) (int64, error) { return a.head, nil }

func TestEventsWaitForTheUserLog(t *testing.T) {
	src := &ahead{model.New(), 3}
	e := New(Options{Source: src, Limits: DefaultLimits()})
	defer e.Close()
	src.Create("!a:h", alice, "shared")
	applied := make(chan error, 1)
	go func() { applied <- e.ApplyRooms(t.Context(), src.Rooms(0)) }()
	for pos := int64(1); pos <= 3; pos++ {
		select {
		case <-applied:
			t.Fatalf("events are told when the user log is at %d of 3", pos-1)
		case <-time.After(20 * time.Millisecond):
		}
		err := e.ApplyUsers(t.Context(), []bus.Positioned[userapi.Entry]{{Pos: pos, Entry: &userapi.Entry{}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	if room, _ := e.Cursors(); room != int64(len(src.Rooms(0))) {
		t.Errorf("at %d", room)
	}
	ctx, cancel := context.WithCancel(t.Context())
	src.head = 100
	src.Message("!a:h", alice, "x")
	go func() { applied <- e.ApplyRooms(ctx, src.Rooms(roomCursor(e))) }()
	cancel()
	if err := <-applied; err == nil {
		t.Error("applied without the user log")
	}
}

func roomCursor(e *Engine) int64 {
	r, _ := e.Cursors()
	return r
}

func TestADeviceIsAskedOnlyWhenThereIsNews(t *testing.T) {
	e, o := setup(t, DefaultLimits(), func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
	o.OnUser = func(p bus.Positioned[userapi.Entry]) {
		_ = e.ApplyUsers(context.Background(), []bus.Positioned[userapi.Entry]{p}) // never fails
	}
	u := acquire(t, e, alice)
	after, acked := int64(0), int64(0)
	ask := func(messages, asks int) {
		t.Helper()
		before := o.DeviceAsks()
		d, err := e.DeviceSync(t.Context(), u, "D", after, acked)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Messages) != messages || o.DeviceAsks()-before != asks {
			t.Errorf("%d messages after %d questions, want %d after %d", len(d.Messages), o.DeviceAsks()-before, messages, asks)
		}
		after = d.Last
	}
	ask(0, 1)
	ask(0, 0)
	o.Message("!a:h", alice, "x")
	o.SetAccountData(alice, "", "m.x", "{}")
	o.SendToDevice(alice, "OTHER", 1)
	o.SendToDevice(bob, "D", 1)
	ask(0, 0)
	o.SendToDevice(alice, "D", 1)
	ask(1, 1)
	acked = after
	ask(0, 1) // reports what has arrived
	ask(0, 0)
	if o.Acknowledged(alice, "D") != acked {
		t.Error("the owner does not know what arrived")
	}
	o.SetKeys(alice, "D", 5)
	ask(0, 1)
	ask(0, 0)
	if d, _ := e.DeviceSync(t.Context(), u, "D", after, acked); d.OneTimeKeys["signed_curve25519"] != 5 {
		t.Errorf("%+v", d)
	}
	after = 0 // a client that lost its token
	ask(0, 1)
}

// A new device uploads its keys before it syncs: then its user may not be in memory.
func TestDevicesOfAUserWithoutAViewWakePeers(t *testing.T) {
	e, o := setup(t, DefaultLimits(), func(o *model.Owners) {
		o.Create("!a:h", alice, "shared")
		o.SetState("!a:h", alice, encryptionType, "", "{}")
		o.Member("!a:h", bob, bob, "join")
		o.Create("!b:h", "@carol:h", "shared")
	})
	o.OnUser = func(p bus.Positioned[userapi.Entry]) {
		_ = e.ApplyUsers(context.Background(), []bus.Positioned[userapi.Entry]{p}) // never fails
	}
	u, carol := acquire(t, e, alice), acquire(t, e, "@carol:h")
	bell, other := u.Bell.Listen(), carol.Bell.Listen()
	defer bell.Close()
	defer other.Close()
	start := Place{Room: roomCursor(e)}
	o.ChangeDevices(bob)
	select {
	case <-bell.C():
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
	changed, left, err := e.ChangedDevices(t.Context(), u, alice, start, Place{Room: roomCursor(e), User: 1})
	if err != nil || !slices.Equal(changed, []string{bob}) || len(left) != 0 {
		t.Errorf("%v %v %v", changed, left, err)
	}
	// Those who have nothing to do with it sleep on.
	select {
	case <-other.C():
		t.Error("a user without a common room was woken")
	case <-time.After(50 * time.Millisecond):
	}
}

var _ Source = (*ahead)(nil)
