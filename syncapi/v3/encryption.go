package v3

import (
	"context"

	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// readDevice asks what there is to tell the device of itself ("Send-to-Device
// messaging" and "End-to-End Encryption", extensions to /sync), and sets the part of
// the next token that says which messages it has. The messages are read after it is
// known up to where the answer goes: those that were sent before an event of the
// answer are in it.
func (r *round) readDevice(ctx context.Context, a *answer) error {
	if r.req.DeviceID == "" {
		return nil
	}
	d, err := r.s.engine.DeviceSync(ctx, r.user, r.req.DeviceID, r.since.ToDevice, r.acked)
	if err != nil {
		return err
	}
	r.toDevice = d
	r.now.ToDevice, a.now.ToDevice = d.Last, d.Last
	a.tail = render.DeviceKeys(a.tail[:0], d.DeviceSyncResponse)
	return nil
}

// holds says whether events wait for the messages that do not fit into the answer: the
// keys to decrypt the events may be among them, and some clients try only once. It
// ends when the device has what was there when it began, so that nobody can keep
// events from a device by sending messages without end.
func (r *round) holds() bool {
	return !r.initial && !r.full && r.toDevice != nil && r.toDevice.More &&
		(r.since.Hold == 0 || r.toDevice.Last < r.since.Hold)
}

// hold makes the answer one that has messages only.
func (r *round) hold(a *answer) {
	hold := r.since.Hold
	if hold == 0 {
		hold = r.now.User
	}
	r.now = r.since
	r.now.ToDevice, r.now.Hold = r.toDevice.Last, hold
	a.now = r.now
}

// writeDevice writes the messages. A change of the device's keys is news by itself:
// the client uploads new ones.
func (r *round) writeDevice(a *answer) error {
	if r.toDevice == nil {
		return nil
	}
	if !r.initial && r.toDevice.News > r.since.User {
		a.begin()
	}
	var list []byte
	for _, m := range r.toDevice.Messages {
		list = append(render.Comma(list), m...)
	}
	return a.events("to_device", list)
}

// writeDeviceLists writes whose device lists the client must read again, and whose it
// may forget. It is for incremental syncs.
func (r *round) writeDeviceLists(ctx context.Context, a *answer) error {
	if r.initial {
		return nil
	}
	since, now := core.Place{Room: r.since.Room, User: r.since.User}, core.Place{Room: r.now.Room, User: r.now.User}
	changed, left, err := r.s.engine.ChangedDevices(ctx, r.user, r.req.UserID, since, now)
	if err != nil {
		return err
	}
	a.deviceLists(changed, left)
	return a.flush(chunkSize)
}

func (a *answer) deviceLists(changed, left []string) {
	if len(changed)+len(left) == 0 {
		return
	}
	a.begin()
	a.buf = append(a.buf, `,"device_lists":{"changed":`...)
	a.buf = append(render.Strings(a.buf, changed), `,"left":`...)
	a.buf = append(render.Strings(a.buf, left), '}')
}
