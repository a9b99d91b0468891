package pduwire_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hearth/internal/pduwire"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	var chunks [][]byte
	w := pduwire.NewWriter(func(c []byte) error {
		chunks = append(chunks, append([]byte(nil), c...))
		return nil
	})
	var want []pduwire.PDU
	for i := range 300 {
		p := pduwire.PDU{EventID: fmt.Sprintf("$%d", i), JSON: []byte(`{"x":"` + strings.Repeat("y", i*10) + `"}`), Redacted: i%3 == 0}
		want = append(want, p)
		if err := w.Write(byte(i%2), p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(chunks) < 2 {
		t.Fatalf("%d chunks for 450 KB", len(chunks))
	}
	var got []pduwire.PDU
	for _, c := range chunks {
		if len(c) > 256<<10 {
			t.Errorf("a chunk of %d bytes", len(c))
		}
		if err := pduwire.Read(c, func(kind byte, p pduwire.PDU) error {
			if kind != byte(len(got)%2) {
				t.Errorf("PDU %d has kind %d", len(got), kind)
			}
			got = append(got, p)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("what was read differs from what was written")
	}
}

func TestDamagedChunksAreRefused(t *testing.T) {
	var chunk []byte
	w := pduwire.NewWriter(func(c []byte) error { chunk = append(chunk, c...); return nil })
	if err := errors.Join(w.Write(1, pduwire.PDU{EventID: "$a", JSON: []byte(`{"a":1}`)}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(chunk); n++ {
		if pduwire.Read(chunk[:n], func(byte, pduwire.PDU) error { return nil }) == nil {
			t.Errorf("a chunk cut to %d of %d bytes was read", n, len(chunk))
		}
	}
}
