package v3

import (
	"strconv"

	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

const typePresence = "m.presence"

// writePresence writes the section "presence" ("Presence").
func (r *round) writePresence(a *answer, rooms []core.Change) error {
	f := &r.filter.Presence
	if !f.hasType(typePresence) {
		return nil
	}
	var fresh []string
	if !r.initial {
		for _, c := range rooms {
			if c.Membership == core.Join && c.Newly == core.Yes {
				fresh = append(fresh, c.RoomID)
			}
		}
	}
	var list []byte
	for _, p := range r.s.engine.Presences(r.user, r.since.Presence, r.initial, fresh) {
		if !f.hasSender(p.UserID) || r.settings.Ignored[p.UserID] {
			continue
		}
		list = append(render.Comma(list), `{"type":"m.presence","sender":`...)
		list = render.String(list, p.UserID)
		list = append(list, `,"content":{"presence":`...)
		list = render.String(list, p.Presence)
		if p.LastActiveTS > 0 {
			list = append(list, `,"last_active_ago":`...)
			list = strconv.AppendInt(list, max(0, r.time.UnixMilli()-p.LastActiveTS), 10)
		}
		if p.StatusMsg != "" {
			list = append(list, `,"status_msg":`...)
			list = render.String(list, p.StatusMsg)
		}
		if p.CurrentlyActive {
			list = append(list, `,"currently_active":true`...)
		}
		list = append(list, `}}`...)
	}
	return a.events("presence", list)
}
