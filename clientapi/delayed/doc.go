// Package delayed sends events later (MSC4140, "Cancellable delayed events"), in the form
// that clients speak today.
//
//	PUT send?delay ─▶ table ─▶ the timer, or the client says so ─▶ roomapi.Send ─▶ table
//
// An event is sent once: the id of the delay is its transaction id, so that what was
// sent just before a crash is found again by the roomserver. Whoever changes a delayed
// event holds its lock, so that what was cancelled is not sent.
package delayed
