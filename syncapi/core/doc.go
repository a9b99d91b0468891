// Package core is the view that syncapi has of rooms and users. It is rebuilt from
// the logs of their owners after every start and holds only what is in use:
//
//	room log ──▶ ApplyRooms ─▶ ┌────────────────────────────┐
//	user log ──▶ ApplyUsers ─▶ │ rooms: the latest entries  │ ──▶ Changes(user, since)
//	typing   ──▶ ApplyTyping ▶ │ users: their memberships   │     which rooms, and what of
//	                           └────────────────────────────┘     them is at hand
//	                                │ rings the bells of the users concerned
//	                                ▼
//	                             who waits in a long-poll
//
// What is not at hand (a gap that is too large, the state of a room) the caller
// reads from the owner, through Source.
//
// # What is known of a room
//
// The followers begin at some position of the log. Of a room that is not in memory
// it is known that nothing happened in it after Engine.floor. A room comes into
// memory with its first entry after the floor; what is kept of it is then complete
// after a position of its own, which rises when old entries are dropped. When
// memory is short, the rooms that were quiet for the longest time are dropped and
// the floor rises to their last entry. So a question about a position at or after
// the floor is answered without asking the owner.
//
// The same views serve every sync protocol: nothing here knows JSON of an answer.
package core
