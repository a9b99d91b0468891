package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// everything has one field of each kind that the helpers know.
type everything struct {
	U    uint64
	I    int64
	B    bool
	F    float64
	Data []byte
	S    string
	Opt  *string
	None *string
	List []string
}

func (v *everything) AppendWire(buf []byte) []byte {
	e := NewEncoder(buf)
	e.Uint(v.U)
	e.Int(v.I)
	e.Bool(v.B)
	e.Float(v.F)
	e.Bytes(v.Data)
	e.String(v.S)
	e.OptString(v.Opt)
	e.OptString(v.None)
	e.Strings(v.List)
	return e.Buffer()
}

func (v *everything) ParseWire(data []byte) error {
	d := NewDecoder(data)
	*v = everything{
		U: d.Uint(), I: d.Int(), B: d.Bool(), F: d.Float(), Data: d.Bytes(), S: d.String(),
		Opt: d.OptString(), None: d.OptString(), List: d.Strings(),
	}
	return d.Done()
}

func sample() *everything {
	opt := ""
	return &everything{
		U: math.MaxUint64, I: math.MinInt64, B: true, F: -0.5, Data: []byte{0, 255}, S: "é\x00",
		Opt: &opt, List: []string{"", "a", strings.Repeat("b", 300)},
	}
}

func TestWireRoundTrip(t *testing.T) {
	for _, v := range []*everything{sample(), {}} {
		data := v.AppendWire([]byte("before"))
		if string(data[:6]) != "before" {
			t.Fatal("the buffer was not appended to")
		}
		got, err := parseValue[everything](data[6:])
		must(t, err)
		if !reflect.DeepEqual(got, v) {
			t.Fatalf("got %+v, want %+v", got, v)
		}
	}
}

func TestCutOrLongMessagesAreErrors(t *testing.T) {
	data := sample().AppendWire(nil)
	for i := range data {
		if _, err := parseValue[everything](data[:i]); !errors.Is(err, ErrWire) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := parseValue[everything](append(data, 0)); !errors.Is(err, ErrWire) {
		t.Fatalf("too long: %v", err)
	}
}

func TestDecoderRefusesLengthsBeyondItsInput(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	for name, read := range map[string]func(*Decoder){
		"Bytes":   func(d *Decoder) { d.Bytes() },
		"String":  func(d *Decoder) { _ = d.String() },
		"Strings": func(d *Decoder) { d.Strings() },
		"Count":   func(d *Decoder) { d.Count() },
		"Bool":    func(d *Decoder) { d.Bool() },
		"Varint":  func(d *Decoder) { d.Rest(); d.Uint() },
		"Float":   func(d *Decoder) { d.Uint(); d.Float() },
	} {
		d := NewDecoder(huge)
		read(&d)
		if d.Err() == nil {
			t.Errorf("%s: no error", name)
		}
		if d.Uint() != 0 || d.String() != "" || d.Bytes() != nil || d.OptString() != nil || d.Len() != 0 {
			t.Errorf("%s: values after an error", name)
		}
	}
}

func TestBytesHaveNoSpareCapacity(t *testing.T) {
	var e Encoder
	e.Bytes([]byte("ab"))
	e.String("cd")
	d := NewDecoder(e.Buffer())
	_ = append(d.Bytes(), 'X', 'X', 'X')
	if d.String() != "cd" {
		t.Fatal("appending to a result changed what follows")
	}
}

func TestPanickingCodecIsAnError(t *testing.T) {
	if _, err := parseValue[bomb](nil); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Fatalf("got %v", err)
	}
}

type bomb struct{}

func (*bomb) AppendWire(b []byte) []byte { return b }
func (*bomb) ParseWire([]byte) error     { panic("boom") }

func TestRequestHeadIsBounded(t *testing.T) {
	far := request{timeout: 1 << 62, trace: strings.Repeat("t", 1000)}.append(nil)
	head, body, err := parseRequest(append(far, "body"...))
	must(t, err)
	if head.timeout != 24*time.Hour || len(head.trace) != maxTrace || string(body) != "body" {
		t.Fatalf("got %v, %d bytes of trace, %q", head.timeout, len(head.trace), body)
	}
	past := request{timeout: -time.Second}.append(nil)
	if head, _, err := parseRequest(past); err != nil || head.timeout != 0 {
		t.Fatalf("got %v, %v", head.timeout, err)
	}
	for _, bad := range []string{"", "\x02\x00\x00", "\x01", "\x01\x05", "\x01\x05\x09abc"} {
		if _, _, err := parseRequest([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzDecoder checks that no input panics or makes more than it holds, and that
// what was accepted is read the same from its own encoding.
func FuzzDecoder(f *testing.F) {
	f.Add(sample().AppendWire(nil))
	f.Add([]byte{})
	f.Add(binary.AppendUvarint(nil, math.MaxUint64))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v everything
		if v.ParseWire(data) == nil {
			if n := len(v.Data) + len(v.S) + len(v.List); n > len(data) {
				t.Fatalf("%d bytes became %d", len(data), n)
			}
			again := v.AppendWire(nil)
			var w everything
			if err := w.ParseWire(again); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.AppendWire(nil), again) {
				t.Fatal("the second encoding differs")
			}
		}
		if _, _, err := parseRequest(data); err == nil && len(data) < 3 {
			t.Fatal("a request of less than 3 bytes")
		}
		if entries, _, err := parsePage[entry](data); err == nil && len(entries) > len(data) {
			t.Fatal("more entries than bytes")
		}
		in := newInbox(0)
		in.receive(data)
		if n := in.take(0, nil); n.head < 0 || len(n.entries) > 1 {
			t.Fatalf("head %d, %d entries", n.head, len(n.entries))
		}
		if e := decodeError(data); e == nil || e.Status < 400 || e.Status > 599 {
			t.Fatalf("error %v", e)
		}
	})
}
