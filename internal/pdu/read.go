package pdu

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// The functions in this file read canonical JSON, as [Canonical], [Event.JSON]
// and [Event.Content] hold it, in place: values are spans of the input. Keys are
// matched exactly, and canonical JSON has no key twice. On other input they never
// panic and always end, but what they find is then not defined.

// Kind returns what val is: '{' object, '[' array, '"' string, '0' number, 't'
// true or false, 'n' null, and 0 for no value.
func Kind(val []byte) byte {
	if len(val) == 0 {
		return 0
	}
	switch c := val[0]; c {
	case '{', '[', '"', 'n', 't':
		return c
	case 'f':
		return 't'
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return '0'
		}
		return 0
	}
}

// Get returns the value of key in the object obj; ok is false if obj is not an
// object or has no such key.
func Get(obj []byte, key string) (val []byte, ok bool) {
	it := iterate(obj, '{')
	for it.next() {
		if keyIs(it.key, key) {
			return it.val, true
		}
	}
	return nil, false
}

// GetString returns the value of key if it is a string.
func GetString(obj []byte, key string) (s string, ok bool) {
	val, ok := Get(obj, key)
	if !ok {
		return "", false
	}
	return String(val)
}

// GetInt returns the value of key if it is an integer of 64 bits.
func GetInt(obj []byte, key string) (n int64, ok bool) {
	val, ok := Get(obj, key)
	if !ok {
		return 0, false
	}
	return Int(val)
}

// GetBool returns the value of key if it is true or false.
func GetBool(obj []byte, key string) (b, ok bool) {
	val, _ := Get(obj, key)
	return string(val) == "true", Kind(val) == 't'
}

// Members calls f with every member of the object obj, in order, until f returns
// false. It returns false if obj is not an object.
func Members(obj []byte, f func(key string, val []byte) bool) bool {
	it := iterate(obj, '{')
	for it.next() {
		key, ok := unquote(it.key)
		if !ok {
			return false
		}
		if !f(key, it.val) {
			return true
		}
	}
	return it.complete
}

// Elements calls f with every element of the array arr, in order, until f returns
// false. It returns false if arr is not an array.
func Elements(arr []byte, f func(val []byte) bool) bool {
	it := iterate(arr, '[')
	for it.next() {
		if !f(it.val) {
			return true
		}
	}
	return it.complete
}

// String returns the text of a JSON string.
func String(val []byte) (s string, ok bool) {
	if len(val) < 2 || val[0] != '"' || val[len(val)-1] != '"' {
		return "", false
	}
	return unquote(val[1 : len(val)-1])
}

// Int returns the value of a JSON number that is an integer of 64 bits, without
// fraction or exponent.
func Int(val []byte) (n int64, ok bool) {
	if len(val) == 0 || len(val) > 20 || val[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(val), 10, 64)
	return n, err == nil
}

// keyIs compares the canonical text of a key with a plain string.
func keyIs(text []byte, key string) bool {
	if len(text) < len(key) { // escapes only make the text longer
		return false
	}
	if string(text) == key {
		return strings.IndexByte(key, '\\') < 0
	}
	for len(text) > 0 && len(key) > 0 {
		c, n := nextByte(text)
		if c != key[0] {
			return false
		}
		text, key = text[n:], key[1:]
	}
	return len(text) == 0 && len(key) == 0
}

// unquote returns what the canonical text of a string, without quotes, stands for.
func unquote(text []byte) (string, bool) {
	i := 0
	for i < len(text) && text[i] != '\\' {
		i++
	}
	if i == len(text) {
		return string(text), true
	}
	var out strings.Builder
	out.Grow(len(text))
	out.Write(text[:i])
	for i < len(text) {
		if text[i] == '\\' && i+1 == len(text) {
			return "", false
		}
		c, n := nextByte(text[i:])
		out.WriteByte(c)
		i += n
	}
	return out.String(), true
}

// AppendString appends s as a canonical JSON string. Bytes that are not UTF-8
// become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && (r != utf8.RuneError || n > 1) {
			i += n
			continue
		}
		dst = append(dst, s[plain:i]...)
		dst = appendRune(dst, r)
		i += n
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

// Set returns the canonical object obj with key set to val, in new memory. val
// must be canonical JSON. ok is false if obj is not an object.
func Set(obj []byte, key string, val []byte) (out []byte, ok bool) {
	quoted := AppendString(nil, key)
	text := quoted[1 : len(quoted)-1]
	out = append(make([]byte, 0, len(obj)+len(quoted)+len(val)+2), '{')
	put := func(member ...[]byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		for _, part := range member {
			out = append(out, part...)
		}
	}
	done := false
	it := iterate(obj, '{')
	for it.next() {
		order := compareKeys(it.key, text)
		if order >= 0 && !done {
			put(quoted, []byte(":"), val)
			done = true
		}
		if order != 0 {
			put(it.b[it.start:it.pos])
		}
	}
	if !it.complete {
		return nil, false
	}
	if !done {
		put(quoted, []byte(":"), val)
	}
	return append(out, '}'), true
}

// Delete returns the canonical object obj without key, in new memory. ok is false
// if obj is not an object.
func Delete(obj []byte, key string) (out []byte, ok bool) {
	out = append(make([]byte, 0, len(obj)), '{')
	it := iterate(obj, '{')
	for it.next() {
		if keyIs(it.key, key) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, it.b[it.start:it.pos]...)
	}
	return append(out, '}'), it.complete
}
