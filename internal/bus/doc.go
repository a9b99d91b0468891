// Package bus is the only way in which components talk: typed calls, streams of
// bytes, logs and topics. It is the only package that knows NATS.
//
//	  caller                                   owner
//	┌─────────┐   Call, Stream (request/reply) ┌──────────────────────────┐
//	│         │ ─────────────────────────────▶ │ handler                  │
//	│         │ ◀───────────────────────────── │                          │
//	└─────────┘   in this process: a function  │    one transaction       │
//	              call; else over NATS         │        │                 │
//	                                           │        ▼                 │
//	 follower                                  │ ┌──────────────────────┐ │
//	┌─────────┐   Publish: entry n (doorbell)  │ │ SQL table = the log  │ │
//	│ cursor  │ ◀─ ─ ─ ─ ─ ─ may be lost ─ ─ ─ │ │ positions 1, 2, 3, … │ │
//	│ in its  │   head: "the log ends at n"    │ └──────────────────────┘ │
//	│ own     │ ◀─ ─ ─ ─ ─ ─ may be lost ─ ─ ─ │        ▲                 │
//	│ store   │   read after the cursor        │        │                 │
//	│         │ ─────────────────────────────▶ │ ServeLog                 │
//	└─────────┘                                └──────────────────────────┘
//
// # The contract
//
// NATS may lose, repeat or reorder every message, and may be wiped at any time.
// Nothing here depends on it for truth:
//
//   - A log is the owner's table. Its positions have no gaps, so a follower sees
//     that something is missing and reads it from the owner. Follow gives every
//     entry exactly once and in order to a consumer that keeps its cursor in the
//     same transaction as the effect.
//   - A call may have been carried out although its caller got an error. Commands
//     are therefore idempotent by a key, and callers may repeat them.
//   - A stream ends with an error when any part of it was lost.
//   - A topic is for what may be forgotten, such as typing.
//
// # Who notices what
//
// Nothing listens on a subject: 503 at once. The connection to NATS is down: calls
// in progress and new ones fail with 503 at once, Follow goes on when it is back.
// While a handler runs, its process sends a sign of life every second and the caller
// answers it; who hears nothing for 3 s takes the other side for dead: the caller
// gets a 503, the handler's context ends. That a caller was killed is noticed with
// the next sign of life, because nobody listens for it any more. So a call may take
// minutes and still fail fast.
//
// # Bounds
//
// A message has at most 1 MiB; a stream has no limit, is cut into chunks of at most
// 256 KiB and keeps at most 8 of them on the way; at most 1,024 handlers run for one
// subject, or as many as its contract says, and the next request is refused with
// merr.Busy; a follower keeps at most 4,096 entries or 8 MiB that it has not applied
// and reads the rest from the owner.
//
// # Errors
//
// Every error is a *merr.Error, except the caller's own: what recv of a stream or
// apply of Follow returned, and the context's error from Follow. All fields cross
// the wire; the cause does not: it is logged where it happened.
//
// # Codecs
//
// A type T whose pointer has AppendWire([]byte) []byte and ParseWire([]byte) error
// is carried by them, every other type as JSON. Encoder and Decoder help to write
// these methods. ParseWire may keep parts of its input, nothing else uses it.
//
// Values that pass a local call or a local log read are shared, not copied: neither
// side changes a request, an answer or an entry after it was handed over.
package bus
