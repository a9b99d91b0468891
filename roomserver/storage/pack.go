package storage

import (
	"encoding/binary"
	"errors"
)

// Links are the edges of an event by number: its prev events and its auth events.
type Links struct {
	Prev, Auth []int64
}

// Pack returns the stored form.
func (l Links) Pack() []byte {
	buf := make([]byte, 0, 4+4*(len(l.Prev)+len(l.Auth)))
	return packInts(packInts(buf, l.Prev), l.Auth)
}

// UnpackLinks reads what Pack wrote.
func UnpackLinks(b []byte) (Links, error) {
	prev, b, err := unpackInts(b)
	if err != nil {
		return Links{}, err
	}
	auth, _, err := unpackInts(b)
	return Links{Prev: prev, Auth: auth}, err
}

// PackInts returns the stored form of a list of numbers.
func PackInts(ints []int64) []byte { return packInts(nil, ints) }

// UnpackInts reads what PackInts wrote.
func UnpackInts(b []byte) ([]int64, error) {
	ints, _, err := unpackInts(b)
	return ints, err
}

var errPacked = errors.New("storage: damaged list of numbers")

func appendVarint(dst []byte, n int64) []byte { return binary.AppendVarint(dst, n) }

func unpackInts(b []byte) (ints []int64, rest []byte, err error) {
	count, k := binary.Varint(b)
	if k <= 0 || count < 0 || count > int64(len(b)) {
		return nil, nil, errPacked
	}
	b = b[k:]
	ints = make([]int64, count)
	for i := range ints {
		n, k := binary.Varint(b)
		if k <= 0 {
			return nil, nil, errPacked
		}
		ints[i], b = n, b[k:]
	}
	return ints, b, nil
}
