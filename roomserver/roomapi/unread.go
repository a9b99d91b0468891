package roomapi

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/internal/bus"
)

var (
	// UnreadStream streams what it takes to count a user's unread notifications in
	// some rooms; read it with ReadUnread.
	UnreadStream = bus.Stream[UnreadRequest]{Subject: "roomserver.unread"}
	// RecentStream streams the newest events of all rooms that a user has joined;
	// read it with ReadRecent.
	RecentStream = bus.Stream[RecentRequest]{Subject: "roomserver.recent"}
)

// MaxUnread is the greatest number of events that are looked at in a room.
const MaxUnread = 1000

// MainThread names the part of a room that is in no thread ("Threaded read receipts").
const MainThread = "main"

// UnreadRequest names a user and rooms. Limit is the greatest number of events of a
// room, at most MaxUnread; 0 for none.
type UnreadRequest struct {
	UserID string
	Rooms  []string
	Limit  int
}

// UnreadRoom is a room of the answer.
type UnreadRoom struct {
	RoomID string
	// Pos is the log position at which the answer is true.
	Pos int64
	// Joined says that the user is a member; nothing else is set if not.
	Joined bool
	// JoinedOrd is the order of the event with which the joined time began.
	JoinedOrd int64
	Marks     []Mark
	// From and the events are all that may be unread: those before it are read, are
	// from before the joined time or, if Cut, are too many.
	From int64
	Cut  bool
	// Members, Levels, Creators and Privileged are of the room's state at StatePos, and
	// true until the room's next event: the number of joined members, the content of
	// m.room.power_levels, who created the room, and whether creators have all power.
	StatePos   int64
	Members    int
	Levels     json.RawMessage `json:",omitempty"`
	Creators   []string
	Privileged bool

	Events []UnreadEvent `json:"-"` // oldest first
}

// Mark is a read receipt as a place in the timeline.
type Mark struct {
	Thread string // empty: unthreaded
	Ord    int64  // of the event
	Pos    int64  // log position of the receipt
}

// UnreadEvent is an event with the thread that it belongs to.
type UnreadEvent struct {
	RoomID string
	Thread string // event id of the root, or MainThread
	Event  *Event
}

// RecentRequest asks for events before log position Before (0: the newest), of the
// log's last Window positions before it, Limit at most.
type RecentRequest struct {
	UserID         string
	Before, Window int64
	Limit          int
}

// Recent is the answer: events from the newest, and their rooms without events. Next
// is the position before which to go on, 0 at the end of the log.
type Recent struct {
	Next   int64
	Rooms  map[string]*UnreadRoom
	Events []UnreadEvent
}

const (
	frameRoom   = 4 // UnreadRoom as JSON
	frameUnread = 5 // room id, thread, then the Event
	frameNext   = 6 // a position
)

// Room writes a room without its events.
func (w *FrameWriter) Room(r *UnreadRoom) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode unread room: %w", err)
	}
	return w.frame(frameRoom, body)
}

// Unread writes an event with its thread.
func (w *FrameWriter) Unread(e *UnreadEvent) error {
	enc := bus.NewEncoder(w.event[:0])
	enc.String(e.RoomID)
	enc.String(e.Thread)
	w.event = e.Event.AppendWire(enc.Buffer())
	return w.frame(frameUnread, w.event)
}

// Next writes where to go on.
func (w *FrameWriter) Next(pos int64) error {
	enc := bus.NewEncoder(nil)
	enc.Int(pos)
	return w.frame(frameNext, enc.Buffer())
}

func parseUnread(payload []byte) (u UnreadEvent, err error) {
	dec := bus.NewDecoder(payload)
	u.RoomID, u.Thread = dec.String(), dec.String()
	if err := dec.Err(); err != nil {
		return u, err
	}
	u.Event = new(Event)
	return u, u.Event.ParseWire(payload[len(payload)-dec.Len():])
}

// ReadUnread hands each room of an UnreadStream to f, in the order of the request.
// Rooms that do not exist are left out.
func ReadUnread(ctx context.Context, b *bus.Bus, req *UnreadRequest, f func(*UnreadRoom)) error {
	var room *UnreadRoom
	err := UnreadStream.Do(ctx, b, req, func(chunk []byte) error {
		return readFrames(chunk, func(kind uint64, payload []byte) error {
			switch kind {
			case frameRoom:
				if room != nil {
					f(room)
				}
				room = new(UnreadRoom)
				return json.Unmarshal(payload, room)
			case frameUnread:
				e, err := parseUnread(payload)
				if err != nil || room == nil {
					return err
				}
				room.Events = append(room.Events, e)
			}
			return nil
		})
	})
	if err == nil && room != nil {
		f(room)
	}
	return err
}

// ReadRecent reads a RecentStream whole.
func ReadRecent(ctx context.Context, b *bus.Bus, req *RecentRequest) (*Recent, error) {
	recent := &Recent{Rooms: map[string]*UnreadRoom{}}
	err := RecentStream.Do(ctx, b, req, func(chunk []byte) error {
		return readFrames(chunk, func(kind uint64, payload []byte) error {
			switch kind {
			case frameNext:
				dec := bus.NewDecoder(payload)
				recent.Next = dec.Int()
				return dec.Err()
			case frameRoom:
				room := new(UnreadRoom)
				if err := json.Unmarshal(payload, room); err != nil {
					return err
				}
				recent.Rooms[room.RoomID] = room
			case frameUnread:
				e, err := parseUnread(payload)
				if err != nil {
					return err
				}
				recent.Events = append(recent.Events, e)
			}
			return nil
		})
	})
	return recent, err
}
