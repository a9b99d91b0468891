// Package outbound sends events and EDUs to other servers (server-server API,
// "Transactions").
//
// It follows the room log. Events wait in memory, in a queue for each server that has something to
// get; a server that keeps up costs no row. What is stored is a cursor and a row for
// each server that does not keep up:
//
//	cursor       each event up to it was delivered, or its server has a row
//	destination  behind: the server has got its events up to there
//	edu          EDUs that must arrive: messages to devices, device lists
//
// After a crash the log is read again from the cursor, so a server may get an event
// twice, in a transaction with another id; an event is the same however often it comes.
//
// A server that fails, or that takes too long, falls behind: it gets a row, and its queue stays in
// memory as long as it is short and the failure is young. A queue that was given up, by a
// restart too, is made good when the server is back: it gets the newest events of each room that has some
// since then, and asks for what it misses between them; events that end a
// membership are remembered one by one, because the newest events of a room that the server has
// left are not for it. What comes in the meantime waits in memory behind that.
//
// A transaction is sent again with the same id and body until it is answered; only one is
// on its way to a server. Receipts, typing and presence are dropped when their server fails.
package outbound
