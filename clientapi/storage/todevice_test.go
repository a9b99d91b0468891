package storage

import (
	"fmt"
	"testing"

	"hearth/internal/store/storetest"
)

// A full queue loses its oldest messages, and what it counts is true.
func TestQueuesAreBounded(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		ctx := t.Context()
		u, err := Open(ctx, e.Options, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := u.Close(); err != nil {
				t.Error(err)
			}
		}()
		err = u.CreateAccount(ctx, Account{Localpart: "bob"}, []byte(`"bob"`), &Session{Device: "PHONE", Token: []byte("t"), MaxDevices: 5})
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, limits ToDeviceLimits, from, to, first int) {
			t.Helper()
			dropped := int64(0)
			for n := from; n < to; n++ {
				event := []byte(fmt.Sprintf(`{"n":%06d}`, n)) // 12 bytes
				lost, err := u.SendToDevice(ctx, "x", "", "", 0, []ToDevice{{Localpart: "bob", Device: "*", Event: event}}, limits)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range lost {
					if d.Localpart != "bob" || d.Device != "PHONE" {
						t.Errorf("%+v", d)
					}
					dropped += d.Messages
				}
			}
			d, err := u.DeviceSync(ctx, "bob", "PHONE", 0, 1000, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			queued, bytes, _, err := u.Queue(ctx, "bob", "PHONE")
			if err != nil || int(queued) != to-first || int(bytes) != 12*(to-first) || len(d.Events) != to-first {
				t.Errorf("%s: %d messages, counted %d of %d bytes: %v", what, len(d.Events), queued, bytes, err)
			}
			for i, event := range d.Events {
				if want := fmt.Sprintf(`{"n":%06d}`, first+i); string(event) != want {
					t.Errorf("%s: %s, want %s", what, event, want)
				}
			}
			if lost := first - max(0, from-int(queued)); dropped == 0 && first > 0 && lost > 0 {
				t.Errorf("%s: nobody is told of lost messages", what)
			}
		}
		check("all fit", ToDeviceLimits{Messages: 10, Bytes: 1000}, 0, 10, 0)
		check("too many", ToDeviceLimits{Messages: 10, Bytes: 1000}, 10, 25, 15)
		check("too large", ToDeviceLimits{Messages: 10, Bytes: 60}, 25, 26, 21)
		check("more at once", ToDeviceLimits{Messages: 3, Bytes: 60}, 26, 27, 24)
		_, _, dropped, err := u.Queue(ctx, "bob", "PHONE")
		if err != nil || dropped != 24 {
			t.Errorf("%d dropped in all: %v", dropped, err)
		}
	})
}
