package media

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"hearth/internal/merr"
)

// lookEvery is how many bytes are written between two looks at the free space.
const lookEvery = 4 << 20

// errReserve says that only the reserve is left.
var errReserve = errors.New("media: no more than the reserve is free")

// noSpace is what a client is told.
func noSpace(err error) error {
	return merr.Unavailable("The server has no space left for files").WithCause(err)
}

// keeper leaves space on the disk to the databases, which need it for every message:
// files are refused first.
type keeper struct {
	reserve int64
	free    func() (int64, error)
}

// newKeeper keeps reserve bytes free on the file system that holds dir; 0: none.
func newKeeper(dir string, reserve int64) *keeper {
	return &keeper{reserve: reserve, free: func() (int64, error) { return freeSpace(dir) }}
}

// freeSpace returns the bytes that this process may still write to a file system.
func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// check fails if n more bytes would use the reserve. If nobody can tell it does not stand in
// the way.
func (k *keeper) check(n int64) error {
	if k.reserve <= 0 {
		return nil
	}
	free, err := k.free()
	if err == nil && free-n < k.reserve {
		return noSpace(fmt.Errorf("%w: %d bytes are free, %d are wanted, %d are reserved", errReserve, free, n, k.reserve))
	}
	return nil
}

// watch returns src, which fails when what was written of it has come near the reserve.
func (k *keeper) watch(src io.Reader) io.Reader { return &watched{k: k, src: src} }

type watched struct {
	k    *keeper
	src  io.Reader
	left int64 // until the next look
}

func (w *watched) Read(p []byte) (int, error) {
	if w.left <= 0 {
		if err := w.k.check(0); err != nil {
			return 0, err
		}
		w.left = lookEvery
	}
	n, err := w.src.Read(p)
	w.left -= int64(n)
	return n, err
}
