package bus

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrWire says that bytes are not what the codec expects.
var ErrWire = errors.New("bus: malformed message")

// Encoder appends values to a buffer, for hand-written codecs (AppendWire). The
// zero value appends to a new buffer. What it writes, a Decoder reads back in the
// same order.
type Encoder struct{ buf []byte }

// NewEncoder returns an encoder that appends to buf.
func NewEncoder(buf []byte) Encoder { return Encoder{buf: buf} }

// Buffer returns the buffer with all that was appended.
func (e *Encoder) Buffer() []byte { return e.buf }

// Uint appends an unsigned number, 1 to 10 bytes.
func (e *Encoder) Uint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }

// Int appends a signed number; small ones of either sign are short.
func (e *Encoder) Int(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

// Bool appends one byte.
func (e *Encoder) Bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	e.buf = append(e.buf, b)
}

// Float appends eight bytes.
func (e *Encoder) Float(v float64) {
	e.buf = binary.LittleEndian.AppendUint64(e.buf, math.Float64bits(v))
}

// Bytes appends a length and the bytes. nil and empty are the same.
func (e *Encoder) Bytes(v []byte) {
	e.Uint(uint64(len(v)))
	e.buf = append(e.buf, v...)
}

// String appends a length and the bytes.
func (e *Encoder) String(v string) {
	e.Uint(uint64(len(v)))
	e.buf = append(e.buf, v...)
}

// OptString appends a string that may be absent.
func (e *Encoder) OptString(v *string) {
	e.Bool(v != nil)
	if v != nil {
		e.String(*v)
	}
}

// Strings appends a list.
func (e *Encoder) Strings(v []string) {
	e.Uint(uint64(len(v)))
	for _, s := range v {
		e.String(s)
	}
}

// Decoder reads what an Encoder wrote. It never reads outside its input, never
// allocates more than the input justifies, and after the first error returns zero
// values; so a codec reads all its fields and asks Err or Done once.
type Decoder struct {
	buf []byte
	bad bool
}

// NewDecoder returns a decoder of buf. Bytes returns parts of buf, not copies.
func NewDecoder(buf []byte) Decoder { return Decoder{buf: buf} }

// Err returns ErrWire if anything was malformed so far.
func (d *Decoder) Err() error {
	if d.bad {
		return ErrWire
	}
	return nil
}

// Done returns ErrWire if anything was malformed or if bytes are left. A codec
// that wants to accept fields of newer versions uses Err instead.
func (d *Decoder) Done() error {
	if len(d.buf) > 0 {
		d.fail()
	}
	return d.Err()
}

// Len returns the number of bytes that are left.
func (d *Decoder) Len() int { return len(d.buf) }

// Rest returns everything that is left.
func (d *Decoder) Rest() []byte {
	v := d.buf
	d.buf = nil
	return v
}

// Uint reads an unsigned number.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

// Int reads a signed number.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

// Bool reads one byte, which must be 0 or 1.
func (d *Decoder) Bool() bool {
	if len(d.buf) == 0 || d.buf[0] > 1 {
		d.fail()
		return false
	}
	v := d.buf[0] == 1
	d.buf = d.buf[1:]
	return v
}

// Float reads eight bytes.
func (d *Decoder) Float() float64 {
	if len(d.buf) < 8 {
		d.fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(d.buf))
	d.buf = d.buf[8:]
	return v
}

// Bytes reads a length and that many bytes. The result is a part of the input
// with no spare capacity; nil if empty.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	v := d.buf[:n:n]
	d.buf = d.buf[n:]
	return v
}

// String reads a string, as a copy.
func (d *Decoder) String() string { return string(d.Bytes()) }

// OptString reads a string that may be absent.
func (d *Decoder) OptString() *string {
	if !d.Bool() {
		return nil
	}
	s := d.String()
	if d.bad {
		return nil
	}
	return &s
}

// Strings reads a list; nil if empty.
func (d *Decoder) Strings() []string {
	n := d.Count()
	if n == 0 {
		return nil
	}
	v := make([]string, n)
	for i := range v {
		v[i] = d.String()
	}
	if d.bad {
		return nil
	}
	return v
}

// Count reads the number of elements of a list. Each takes at least one byte, so
// a number greater than the bytes left is malformed; the result is safe for make.
func (d *Decoder) Count() int {
	n := d.Uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *Decoder) fail() { d.bad, d.buf = true, nil }
