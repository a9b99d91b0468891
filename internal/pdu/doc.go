// Package pdu is Hearth's event codec: the strict gate for foreign JSON, canonical
// JSON, the feature table of room versions 1 to 12, identifiers, hashes, event
// ids, signatures, redaction and the building of events.
//
// # One buffer
//
// A foreign event is read once. The scanner checks it and writes its canonical
// form into one buffer; that buffer, without unsigned, is [Event.JSON], and it is
// what is stored and sent on. Because canonical JSON is the form that everything
// else is defined on, nothing decodes or encodes it again:
//
//	foreign bytes ── scanner ──▶ canonical bytes = Event.JSON ── split ──▶ spans of the known keys
//	                                                                            │
//	     content hash     = SHA-256(the bytes without the spans of hashes and signatures)
//	     redacted form    = the spans that the version keeps, in their order
//	     reference hash   = SHA-256(the same without signatures) = the bytes that signatures cover
//	     Event.Content    = one span
//
// Values are copied as they are written, so numbers of old rooms keep their text
// and keys are matched exactly, byte for byte.
//
// # What is trusted
//
// [Parse], [Canonical], [SignJSON] and [VerifyJSON] take anything. [Load], [Get],
// [Members] and their relatives read bytes that one of the former has written.
// They are safe on other input (no panic, no endless work), but then find nothing
// that means anything.
//
// # Numbers
//
// Room versions 6 and later allow only integers within ±(2^53−1). Before, events
// may hold other numbers. Those keep the sender's text in the canonical form,
// since that is what the sender has hashed; only "-0" and integers with an
// exponent are rewritten, as in the specification's examples.
package pdu
