package state

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestCodecExtremes(t *testing.T) {
	numbers := []int64{math.MinInt64, math.MinInt64 + 1, -1 << 62, -1, 0, 1, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}
	var list []Entry
	for _, a := range numbers {
		for _, b := range numbers {
			list = append(list, Entry{Key{a, b}, numbers[len(list)%len(numbers)]})
		}
	}
	for n := range list {
		for _, part := range [][]Entry{list[:n], list[n:], {list[n]}} {
			got, err := decode(encode(part))
			if err != nil || !slices.Equal(got, part) {
				t.Fatalf("%d entries: %v", len(part), err)
			}
		}
	}
	c := open(encode(list))
	if !c.next() {
		t.Fatal("no first entry")
	}
	for _, e := range list { // each in turn, with one cursor
		if !c.seek(e.Key) || c.cur != e {
			t.Fatalf("seek %v: %v", e.Key, c.cur)
		}
	}
	for range 1000 {
		k := Key{rand.Int64() - 1<<62, rand.Int64() - 1<<62}
		c := open(encode(list))
		c.next()
		i, _ := search(list, k)
		if found := c.seek(k); found != (i < len(list)) || found && c.cur != list[i] {
			t.Fatalf("seek %v: %v, %v", k, found, c.cur)
		}
	}
}

// Every truncation and every single changed byte is either refused or another
// well-formed delta; nothing panics.
func TestCodecDamage(t *testing.T) {
	var list []Entry
	for i := range 150 {
		list = append(list, Entry{Key{int64(i / 70), int64(i * 3)}, int64(i * 1000)})
	}
	good := encode(list)
	for i := range good {
		if _, err := decode(good[:i]); err == nil {
			t.Fatalf("%d of %d bytes pass", i, len(good))
		}
		for _, x := range []byte{1, 0x80, 0xff} {
			bad := slices.Clone(good)
			bad[i] ^= x
			checkDecoded(t, bad)
		}
	}
	if _, err := decode(append(slices.Clone(good), 0)); err == nil {
		t.Error("a byte too many passes")
	}
	if _, err := decode(nil); err == nil {
		t.Error("nothing passes")
	}
	if list, err := decode([]byte{0}); err != nil || len(list) != 0 {
		t.Errorf("no entries: %v, %v", list, err)
	}
}

func checkDecoded(t *testing.T, delta []byte) {
	t.Helper()
	list, err := decode(delta)
	if err != nil {
		return
	}
	if len(list) > len(delta) {
		t.Fatalf("%d entries of %d bytes", len(list), len(delta))
	}
	for i := 1; i < len(list); i++ {
		if list[i-1].Key.Compare(list[i].Key) >= 0 {
			t.Fatal("keys do not ascend")
		}
	}
	again, err := decode(encode(list))
	if err != nil || !slices.Equal(again, list) {
		t.Fatal("does not survive")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0}, int64(0), int64(0))
	f.Add(encode([]Entry{{Key{1, 2}, 3}, {Key{1, 5}, -3}, {Key{4, -5}, 0}}), int64(1), int64(5))
	long := make([]Entry, 200)
	for i := range long {
		long[i] = Entry{Key{int64(i) / 90, int64(i)}, int64(i)}
	}
	f.Add(encode(long), int64(1), int64(130))
	f.Fuzz(func(t *testing.T, delta []byte, typ, stateKey int64) {
		checkDecoded(t, delta)
		wanted := []Entry{{Key: Key{typ, stateKey}}}
		list, err := decode(delta)
		got, lookupErr := lookup([]*Snapshot{{Delta: delta}}, wanted)
		if err != nil {
			return // a lookup may not have seen the fault
		}
		if lookupErr != nil {
			t.Fatalf("lookup: %v", lookupErr)
		}
		var want int64
		if i, ok := search(list, wanted[0].Key); ok {
			want = list[i].Event
		}
		if got[0] != want {
			t.Fatalf("lookup %d, want %d", got[0], want)
		}
	})
}
