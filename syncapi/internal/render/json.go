package render

import "encoding/json"

// Object writes the members of a JSON object.
type Object struct {
	Buf   []byte
	start int
}

// Open begins an object at the end of buf.
func Open(buf []byte) Object {
	return Object{Buf: append(buf, '{'), start: len(buf) + 1}
}

// Empty reports whether nothing was written yet.
func (o *Object) Empty() bool { return len(o.Buf) == o.start }

// Key begins a member; its value is to be appended to Buf.
func (o *Object) Key(name string) {
	if !o.Empty() {
		o.Buf = append(o.Buf, ',')
	}
	o.Buf = append(String(o.Buf, name), ':')
}

// Events writes a member with a list of events, which list appends with commas
// between; without events nothing, unless always.
func (o *Object) Events(name string, always bool, list func(dst []byte) []byte) {
	before := len(o.Buf)
	o.Key(name)
	o.Buf = append(o.Buf, `{"events":[`...)
	n := len(o.Buf)
	o.Buf = list(o.Buf)
	if len(o.Buf) == n && !always {
		o.Buf = o.Buf[:before]
		return
	}
	o.Buf = append(o.Buf, `]}`...)
}

// Comma appends what must stand before the next element or member.
func Comma(dst []byte) []byte {
	if n := len(dst); n == 0 || dst[n-1] == '[' || dst[n-1] == '{' {
		return dst
	}
	return append(dst, ',')
}

// String appends s as JSON.
func String(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
