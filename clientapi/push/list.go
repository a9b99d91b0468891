package push

import (
	"context"
	"encoding/json"
	"strconv"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
)

// Bounds of a page of GET /notifications. Nothing is stored for it: a page is found by
// applying the rules of today to the events of the rooms that the user is in today,
// from the newest. One page looks at maxLooks stretches of the room log; where little
// was found it has fewer notifications than asked for and says where to go on.
const (
	defaultPage = 20
	maxPage     = 100
	stretch     = 20_000
	maxLooks    = 5
	onlyBright  = "highlight"
)

type notified struct {
	Actions []json.RawMessage `json:"actions"`
	Event   json.RawMessage   `json:"event"`
	Read    bool              `json:"read"`
	RoomID  string            `json:"room_id"`
	TS      int64             `json:"ts"`
}

// notifications is GET /notifications.
func (s *Server) notifications(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	limit := int(query.Int("limit", defaultPage, 1, maxPage))
	bright := query.Enum("only", "", "", onlyBright) == onlyBright
	from := query.String("from")
	if err := query.Err(); err != nil {
		return nil, err
	}
	before, err := parseToken(from)
	if err != nil {
		return nil, err
	}
	rules, err := s.rules.of(r.Context(), r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	l := &lister{Server: s, r: r, rules: rules, limit: limit, bright: bright, found: []notified{}}
	for range maxLooks {
		if before, err = l.look(r.Context(), before); err != nil {
			return nil, err
		}
		if before == 0 || len(l.found) >= limit {
			break
		}
	}
	answer := map[string]any{"notifications": l.found}
	if before > 0 {
		answer["next_token"] = token(before)
	}
	return answer, nil
}

func token(before int64) string { return "n" + strconv.FormatInt(before, 36) }

func parseToken(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if text[0] == 'n' {
		if n, err := strconv.ParseInt(text[1:], 36, 64); err == nil && n > 0 {
			return n, nil
		}
	}
	return 0, merr.InvalidParam("Unknown token in from")
}

// lister collects one page.
type lister struct {
	*Server
	r      *matrixhttp.Request
	rules  *userRules
	limit  int
	bright bool
	found  []notified
}

// look goes through one stretch of the log and returns where the next one begins, 0 at
// the end.
func (l *lister) look(ctx context.Context, before int64) (int64, error) {
	user := l.r.Identity.UserID
	recent, err := roomapi.ReadRecent(ctx, l.bus, &roomapi.RecentRequest{UserID: user, Before: before, Window: stretch})
	if err != nil {
		return 0, err
	}
	for i := range recent.Events {
		e := &recent.Events[i]
		if len(l.found) >= l.limit {
			return e.Event.Pos + 1, nil
		}
		room := recent.Rooms[e.RoomID]
		if room == nil || l.rules.ignored[e.Event.Sender] {
			continue
		}
		if err := l.take(ctx, room, e); err != nil {
			return 0, err
		}
	}
	return recent.Next, nil
}

func (l *lister) take(ctx context.Context, room *roomapi.UnreadRoom, e *roomapi.UnreadEvent) error {
	user, ev := l.r.Identity.UserID, e.Event
	env := &surroundings{
		ctx: ctx, bus: l.bus, userID: user, roomID: e.RoomID,
		read: func(context.Context, string, string) (*roomapi.UnreadRoom, error) { return room, nil },
	}
	o := l.rules.compiled.Evaluate(pushrules.NewEvent(e.RoomID, ev.Type, ev.Sender, ev.StateKey, ev.JSON), env)
	if env.err != nil || o == nil || !o.Notify || l.bright && !o.Highlight {
		return env.err
	}
	read := false
	for _, m := range room.Marks {
		read = read || ev.Ord <= m.Ord && (m.Thread == "" || m.Thread == e.Thread)
	}
	l.found = append(l.found, notified{
		Actions: o.Actions, Read: read, RoomID: e.RoomID, TS: ev.OriginServerTS,
		Event: ev.AppendJSON(nil, roomapi.Render{UserID: user, DeviceID: l.r.Identity.DeviceID, Now: l.now()}),
	})
	return nil
}
