package viewapi

import "hearth/internal/bus"

// Unread counts the unread notifications of a user in all rooms, as /sync does room by
// room. 503 if the room log has not come to Pos within a few seconds.
var Unread = bus.Call[UnreadRequest, UnreadResponse]{Subject: "syncapi.unread"}

// UnreadRequest names the user and the position of the room log that must be counted.
type UnreadRequest struct {
	UserID string
	Pos    int64
}

// UnreadResponse is the sum over the rooms that the user has joined.
type UnreadResponse struct{ Notifications, Highlights int }
