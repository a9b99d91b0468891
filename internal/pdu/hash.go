package pdu

import (
	"crypto/sha256"
	"encoding/base64"
)

// smallEvent is the size of the buffers on the stack in which the bytes for
// hashes and signatures are put together; larger events spill to the heap.
const smallEvent = 2048

// contentHash is the hash of the whole event without unsigned, signatures and
// hashes (server-server API, "Calculating the content hash for an event").
func (f *fields) contentHash() [sha256.Size]byte {
	var buf [smallEvent]byte
	return sha256.Sum256(f.appendWithout(buf[:0], fHashes, fSignatures, fUnsigned))
}

// referenceHash is the hash of the redacted event without signatures and unsigned
// (server-server API, "Calculating the reference hash for an event").
func (f *fields) referenceHash(v *RoomVersion, eventType string) [sha256.Size]byte {
	var buf [smallEvent]byte
	return sha256.Sum256(f.appendRedacted(buf[:0], v, eventType, false))
}

// claimedHash decodes hashes.sha256; ok is false if it is not there or not base64.
func (f *fields) claimedHash() (sum [sha256.Size]byte, ok bool) {
	val, found := Get(f.val(fHashes), "sha256")
	if !found {
		return sum, false
	}
	var buf [64]byte
	raw, ok := appendBase64(buf[:0], val)
	if !ok || len(raw) != len(sum) {
		return [sha256.Size]byte{}, ok
	}
	copy(sum[:], raw)
	return sum, true
}

// appendBase64 appends what a JSON string of standard base64, padded or not,
// stands for.
func appendBase64(dst, val []byte) ([]byte, bool) {
	if len(val) < 2 || val[0] != '"' || val[len(val)-1] != '"' {
		return nil, false
	}
	text := val[1 : len(val)-1]
	for len(text) > 0 && text[len(text)-1] == '=' && len(val)-2-len(text) < 2 {
		text = text[:len(text)-1]
	}
	dst, err := base64.RawStdEncoding.AppendDecode(dst, text)
	return dst, err == nil
}

// eventID makes the id from the reference hash.
func (v *RoomVersion) eventID(hash [sha256.Size]byte) string {
	enc := base64.RawStdEncoding
	if v.URLSafeEventIDs {
		enc = base64.RawURLEncoding
	}
	var buf [hashIDLength]byte
	buf[0] = '$'
	enc.Encode(buf[1:], hash[:])
	return string(buf[:])
}

// ReferenceHash returns the 32 bytes of the event's reference hash, from which
// ids of event format 3 and later are made and which references of format 1 hold.
func (e *Event) ReferenceHash() []byte {
	f, _ := split(e.JSON)
	sum := f.referenceHash(e.Version, e.Type)
	return sum[:]
}

// Ref returns what an event that follows e puts into prev_events or auth_events.
func (e *Event) Ref() Ref {
	if e.Version.EventFormat != 1 {
		return Ref{EventID: e.EventID}
	}
	return Ref{EventID: e.EventID, SHA256: e.ReferenceHash()}
}

// ContentHashMatches reports whether hashes.sha256 fits the event. It does not
// for an event that has been redacted.
func (e *Event) ContentHashMatches() bool {
	f, ok := split(e.JSON)
	if !ok {
		return false
	}
	claimed, ok := f.claimedHash()
	return ok && claimed == f.contentHash()
}
