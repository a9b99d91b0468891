package sliding

import (
	"context"
	"strconv"

	"hearth/internal/merr"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// toDevice asks for messages to the device (MSC3885). Since is the next_batch of the
// last answer that the client has processed: messages up to it are gone then.
type toDevice struct {
	Enabled bool   `json:"enabled"`
	Since   string `json:"since"`
}

func (t *toDevice) position() (int64, error) {
	if t.Since == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(t.Since, 10, 64)
	if err != nil || n < 0 {
		return 0, merr.InvalidParam("Invalid since of the to_device extension")
	}
	return n, nil
}

// readDevice asks what there is to tell the device of itself: messages, and the numbers
// of its keys. Messages are read after it is known up to where the answer goes: those
// that were sent before an event of the answer are in it.
func (r *round) readDevice(ctx context.Context) (err error) {
	ext := &r.request.ext
	if r.req.DeviceID == "" || !ext.ToDevice.Enabled && !ext.E2EE.Enabled {
		return nil
	}
	since, err := ext.ToDevice.position()
	if err != nil {
		return err
	}
	r.deviceState, err = r.s.engine.DeviceSync(ctx, r.user, r.req.DeviceID, since, since)
	return err
}

// holds says whether events wait for the messages that do not fit into the answer: the
// keys to decrypt the events may be among them, and some clients try only once. It
// ends when the device has what was there when it began, so that nobody can keep
// events from a device by sending messages without end.
func (r *round) holds() bool {
	return r.pos != nil && r.request.ext.ToDevice.Enabled && r.deviceState != nil && r.deviceState.More &&
		(r.base.hold == 0 || r.deviceState.Last < r.base.hold)
}

// hold makes an answer that has messages only, and after which the client knows no more
// of rooms than before.
func (r *round) hold() error {
	now := r.view.Now.User
	r.next = change{state: *r.base}
	r.next.seq, r.next.rooms = r.conn.last+1, map[string]known{}
	if r.next.hold == 0 {
		r.next.hold = now
	}
	r.prepare()
	return r.messages()
}

// device writes what readDevice has read.
func (r *round) device(ctx context.Context) error {
	if r.deviceState == nil {
		return nil
	}
	if r.request.ext.E2EE.Enabled {
		if err := r.keys(ctx, r.deviceState); err != nil {
			return err
		}
	}
	return r.messages()
}

// messages writes the to_device extension.
func (r *round) messages() error {
	d, ext := r.deviceState, &r.request.ext.ToDevice
	if !ext.Enabled || len(d.Messages) == 0 && !r.out.begun {
		return nil
	}
	since, err := ext.position()
	if err != nil {
		return err
	}
	o := render.Open(nil)
	o.Key("next_batch")
	o.Buf = render.String(o.Buf, strconv.FormatInt(max(d.Last, since), 10))
	o.Key("events")
	o.Buf = append(o.Buf, '[')
	for _, m := range d.Messages {
		o.Buf = append(render.Comma(o.Buf), m...)
	}
	return r.out.extension("to_device", append(o.Buf, ']', '}'))
}

// keys writes the e2ee extension (MSC3884). Lists are those that changed since the
// client's last answer; a client that asks for the first time knows none.
func (r *round) keys(ctx context.Context, d *core.DeviceState) error {
	var changed, left []string
	if r.base.ext.e2ee {
		base, now := r.base.since, r.view.Now
		var err error
		changed, left, err = r.s.engine.ChangedDevices(ctx, r.user, r.req.UserID,
			core.Place{Room: base.Room, User: base.User}, core.Place{Room: now.Room, User: now.User})
		if err != nil {
			return err
		}
	}
	news := len(changed)+len(left) > 0 || d.News > r.base.since.User || !r.base.ext.e2ee
	if !news && !r.out.begun {
		return nil
	}
	o := render.Open(nil)
	if len(changed)+len(left) > 0 {
		o.Key("device_lists")
		in := render.Open(o.Buf)
		in.Key("changed")
		in.Buf = render.Strings(in.Buf, changed)
		in.Key("left")
		in.Buf = render.Strings(in.Buf, left)
		o.Buf = append(in.Buf, '}')
	}
	buf := render.DeviceKeys(o.Buf, d.DeviceSyncResponse)
	if o.Empty() {
		buf = append(buf[:1], buf[2:]...) // without the comma before the first member
	}
	return r.out.extension("e2ee", append(buf, '}'))
}
