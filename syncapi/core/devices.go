package core

import (
	"context"

	"hearth/clientapi/userapi"
)

// deviceView is what is remembered of a device that syncs; guarded by Engine.mu.
type deviceView struct {
	news  int64 // position of the last entry about the device
	known bool  // the owner was asked
	at    int64 // position at which keys and empty are true
	empty bool  // there are no messages after position after
	after int64
	acked int64 // messages up to it were reported as received
	keys  DeviceKeys
}

// DeviceKeys is the state of a device's one-time and fallback keys. It is immutable.
type DeviceKeys struct {
	OneTime  map[string]int64
	Fallback []string
}

// applyDevice notes that there is something to tell a device of itself.
func (e *Engine) applyDevice(pos int64, user, device string) {
	u := e.users[user]
	if u == nil {
		return
	}
	if v := u.devices[device]; v != nil {
		v.news = pos
	}
	e.wake(u)
}

// DeviceState is what a device is told of itself. News is the position of the last
// entry about it; 0 if there was none lately.
type DeviceState struct {
	*userapi.DeviceSyncResponse
	News int64
}

// DeviceSync returns the messages for a device after a position and the state of its
// keys. Messages up to acked have arrived at the client. The owner is asked only if
// there may be something that memory does not tell.
func (e *Engine) DeviceSync(ctx context.Context, u *User, device string, after, acked int64) (*DeviceState, error) {
	e.mu.Lock()
	v := u.devices[device]
	if v == nil {
		if u.devices == nil {
			u.devices = map[string]*deviceView{}
		}
		v = &deviceView{}
		u.devices[device] = v
	}
	if v.known && v.at >= v.news && v.empty && after >= v.after && acked <= v.acked {
		state := &DeviceState{&userapi.DeviceSyncResponse{
			Last: after, OneTimeKeys: v.keys.OneTime, UnusedFallback: v.keys.Fallback, Pos: v.at,
		}, v.news}
		e.mu.Unlock()
		return state, nil
	}
	e.mu.Unlock()
	resp, err := e.source.DeviceSync(ctx, &userapi.DeviceSyncRequest{
		UserID: u.ID, DeviceID: device, After: after, Acknowledged: acked,
	})
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if resp.Pos >= v.at {
		v.known, v.at, v.after = true, resp.Pos, after
		v.empty = len(resp.Messages) == 0
		v.keys = DeviceKeys{OneTime: resp.OneTimeKeys, Fallback: resp.UnusedFallback}
	}
	v.acked = max(v.acked, acked)
	return &DeviceState{resp, v.news}, nil
}

// settle waits until the user log is applied as far as it went when an entry of the
// room log came. A client that sends keys to devices and then a message relies on it:
// the message must not be told before the keys are. It returns only when that is so or
// ctx ends.
func (e *Engine) settle(ctx context.Context) error {
	for {
		head, err := e.source.UserHead(ctx)
		if err == nil {
			return e.reachUser(ctx, head)
		}
		if err := pause(ctx, maxGap); err != nil {
			return err
		}
	}
}

func (e *Engine) reachUser(ctx context.Context, pos int64) error {
	if _, user := e.Cursors(); user >= pos {
		return nil
	}
	l := e.moved.Listen()
	defer l.Close()
	for {
		if _, user := e.Cursors(); user >= pos {
			return nil
		}
		select {
		case <-l.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
