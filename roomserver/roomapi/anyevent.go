package roomapi

import "hearth/internal/bus"

// FindEvent returns an event of any room that the user may see, with its room: 404
// otherwise. RoomID of the request has no meaning.
var FindEvent = bus.Call[EventRequest, PlacedEvent]{Subject: "roomserver.event.find"}

// PlacedEvent is an event with its room.
type PlacedEvent struct {
	RoomID string
	Event  *Event
}
