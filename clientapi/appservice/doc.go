// Package appservice serves application services (Application Service API): it reads
// their registrations, knows whose namespaces a user, an alias or a room is in, and
// brings them what happens there.
//
//	room log ──► follower ──► pending positions ──► sender of each service ──► PUT /transactions
//	             (one)        (database)            (body kept until 200)
//
// The follower reads the room log and writes, in one transaction with its cursor,
// which positions each service waits for. A sender reads the entries of the next
// positions, writes the transaction to the database, and only then sends it, with the
// same id and body until the service has answered 200. So nothing is lost, moved or
// repeated under another id, whichever side is killed when.
//
// Typing notifications are not stored: they go out with the next transaction, or not
// at all if the service does not answer.
package appservice
