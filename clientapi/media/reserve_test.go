package media

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"hearth/internal/merr"
)

func TestReserve(t *testing.T) {
	free := int64(100 << 20)
	k := &keeper{reserve: 10 << 20, free: func() (int64, error) { return free, nil }}
	if err := k.check(90 << 20); err != nil {
		t.Error(err)
	}
	var e *merr.Error
	if err := k.check(90<<20 + 1); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || !e.Temporary || !errors.Is(err, errReserve) {
		t.Errorf("into the reserve: %v", err)
	}
	// A source of unknown length is cut when others have used the space meanwhile.
	src := k.watch(bytes.NewReader(make([]byte, 64<<20)))
	if _, err := io.CopyN(io.Discard, src, 20<<20); err != nil {
		t.Fatal(err)
	}
	free = 9 << 20
	if n, err := io.Copy(io.Discard, src); !errors.Is(err, errReserve) || n > lookEvery {
		t.Errorf("%d bytes, %v", n, err)
	}
	free = 11 << 20
	if err := k.check(0); err != nil {
		t.Errorf("when there is space again: %v", err)
	}
	k.free = func() (int64, error) { return 0, errors.New("nobody knows") }
	if err := k.check(1 << 30); err != nil {
		t.Error(err)
	}
	if free, err := freeSpace(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
	if err := newKeeper(t.TempDir(), 0).check(1 << 60); err != nil {
		t.Errorf("without a reserve: %v", err)
	}
}
