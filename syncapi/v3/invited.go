package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// invited renders a room of rooms.invite or rooms.knock: its stripped state. If the
// invite is over by now, the stripped state is empty, and the next answer tells what
// came of it. The room is not left out: a client that was in it before would take
// itself to be in it still, and would build on that when it enters again.
func (r *round) invited(ctx context.Context, c *core.Change, dst []byte) ([]byte, error) {
	state, err := r.s.engine.Source().InviteState(ctx, &roomapi.InviteStateRequest{RoomID: c.RoomID, UserID: r.req.UserID})
	if err != nil && !refused(err) {
		return dst, err
	}
	var events json.RawMessage
	if err == nil {
		events = state.Events
	}
	name := "invite_state"
	if c.Membership == core.Knock {
		name = "knock_state"
	}
	o := render.Open(dst)
	o.Key(name)
	o.Buf = append(o.Buf, `{"events":`...)
	o.Buf = append(o.Buf, array(events)...)
	return append(o.Buf, `}}`...), nil
}

// array returns raw if it is a JSON array, else an empty one: other servers take
// part in what an invite says.
func array(raw json.RawMessage) []byte {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '[' || !json.Valid(raw) {
		return []byte("[]")
	}
	return raw
}

// refused reports whether the owner answered that there is nothing for this user.
func refused(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound)
}
