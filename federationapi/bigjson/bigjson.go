// Package bigjson reads JSON of any length as it comes: objects and arrays member by member,
// in memory for one value.
package bigjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxMembers bounds the members of an object.
const maxMembers = 100

// Reader reads one JSON text. The order of calls follows the text.
type Reader struct {
	src *source
	dec *json.Decoder
}

// source refuses to read on while one value is not complete.
type source struct {
	r        io.Reader
	read     int64
	consumed int64
	max      int64
}

var errValue = errors.New("a value is too large")

func (s *source) Read(p []byte) (int, error) {
	if s.read-s.consumed > s.max {
		return 0, errValue
	}
	n, err := s.r.Read(p)
	s.read += int64(n)
	return n, err
}

// New returns a reader of r that takes values of at most about maxValue bytes.
func New(r io.Reader, maxValue int64) *Reader {
	s := &source{r: r, max: maxValue}
	return &Reader{src: s, dec: json.NewDecoder(s)}
}

func (r *Reader) token() (json.Token, error) {
	t, err := r.dec.Token()
	r.src.consumed = r.dec.InputOffset()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

func (r *Reader) delim(want json.Delim) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	if d, ok := t.(json.Delim); !ok || d != want {
		return fmt.Errorf("%v is missing", want)
	}
	return nil
}

// Object reads an object. member reads the value of each member with one of the methods of
// r. No member may come twice.
func (r *Reader) Object(member func(key string) error) error {
	if err := r.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok || seen[key] || len(seen) == maxMembers {
			return errors.New("a member is there twice, or there are too many")
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	return r.delim('}')
}

// Array reads an array. element reads each element with one of the methods of r.
func (r *Reader) Array(element func() error) error {
	if err := r.delim('['); err != nil {
		return err
	}
	for r.dec.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return r.delim(']')
}

// Value reads one value.
func (r *Reader) Value() (json.RawMessage, error) {
	var raw json.RawMessage
	err := r.dec.Decode(&raw)
	r.src.consumed = r.dec.InputOffset()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimSpace(raw), err
}

// End checks that nothing follows.
func (r *Reader) End() error {
	switch _, err := r.dec.Token(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	}
	return errors.New("something follows the end")
}
