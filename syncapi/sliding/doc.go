// Package sliding answers simplified sliding sync (MSC4186), in the form of its
// unstable prefix and in the accepted one, from the views of package core.
//
// A connection holds what the client was told, by room:
//
//	request ─▶ connection: acknowledge or take back the last answer
//	             │
//	             ▼
//	core.Look(user, acknowledged) ─▶ rules: which rooms ─▶ render what changed ─▶ something? ─▶ send it
//	        ▲                                                │ no
//	        └──────── the user's bell rings ◀── wait ◀───────┘   time is over: send an empty answer
//
// # Positions
//
// A connection has the state that the client has acknowledged and, after an answer,
// the change that the answer makes to it. The next request either carries the
// answer's position, and the change is made, or the position before, and the change
// is thrown away: the answer got lost. Any other position is M_UNKNOWN_POS.
// Connections are in the memory of one process, whose slot is part of the position;
// the gateway sends the request there. When the process is gone, or has dropped the
// connection because there were too many, the client starts anew.
//
// # Cost
//
// If the rules are the same as last time and no membership, and nothing that filters
// look at, has changed since, then only rooms with new events are looked at: all
// other rooms in the windows have been told, and new events move rooms only to the
// front. Otherwise the whole list is gone through once.
package sliding
