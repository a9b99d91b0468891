// Package blob keeps files by the SHA-256 of their content, so that the same content
// is there once. A file is whole or not there: it is written under another name, put
// on disk, and only then renamed.
//
// It does not know who needs a file; that is in the database of package storage.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Hash is the SHA-256 of a file's content.
type Hash [sha256.Size]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// bufferSize is how much of a file is in memory while it is copied.
const bufferSize = 256 << 10

// Store is a directory of files.
//
//	tmp/        what is being written
//	files/ab/…  what is there, by its hash
type Store struct {
	root    string
	space   *budget
	buffers sync.Pool
	// locks order what happens to a file: putting it in place and noting that it is
	// needed, finding that nobody needs it and removing it.
	locks [256]sync.Mutex
}

// Open makes the directories and removes what unfinished writes left. At most
// tempSpace bytes are in unfinished files at the same time.
func Open(dir string, tempSpace int64) (*Store, error) {
	s := &Store{root: dir, space: &budget{left: tempSpace}}
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	if err := os.RemoveAll(s.tmp()); err != nil {
		return nil, err
	}
	for _, dir := range []string{dir, s.tmp(), s.files()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	// All of them at once: a directory that is made is on disk when its parent is.
	for i := range 256 {
		err := os.Mkdir(filepath.Join(s.files(), fmt.Sprintf("%02x", i)), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	for _, dir := range []string{s.files(), dir, filepath.Dir(dir)} {
		if err := syncDir(dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) tmp() string   { return filepath.Join(s.root, "tmp") }
func (s *Store) files() string { return filepath.Join(s.root, "files") }

func (s *Store) path(h Hash) string {
	name := h.String()
	return filepath.Join(s.files(), name[:2], name[2:])
}

// Lock holds a file as it is, there or not there, until the function that it returns
// is called. Files whose hashes begin alike share a lock, so hold one at a time.
func (s *Store) Lock(h Hash) (unlock func()) {
	l := &s.locks[h[0]]
	l.Lock()
	return l.Unlock
}

// Open opens a file; the error is fs.ErrNotExist if it is not there.
func (s *Store) Open(h Hash) (*os.File, error) { return os.Open(s.path(h)) }

// Remove removes a file. The caller holds its lock.
func (s *Store) Remove(h Hash) error {
	err := os.Remove(s.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Draft is content that is on disk but not in place. It must be closed.
type Draft struct {
	Hash  Hash
	Size  int64
	store *Store
	file  *os.File
	taken int64 // of the budget
}

// ErrNoSpace: too much is being written at the same time.
var ErrNoSpace = errors.New("blob: the space for unfinished files is used up")

// Write copies src to disk. size is how much src holds, -1 if nobody knows. Errors of
// src are returned as they are; ErrNoSpace is one of ours. Nothing is left behind by
// a failed write. A nil error says that the content has been synced.
func (s *Store) Write(src io.Reader, size int64) (*Draft, error) {
	d := &Draft{store: s}
	if size > 0 {
		if !s.space.take(size) {
			return nil, ErrNoSpace
		}
		d.taken = size
	}
	err := d.write(src)
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Draft) write(src io.Reader) error {
	file, err := os.CreateTemp(d.store.tmp(), "")
	if err != nil {
		return err
	}
	d.file = file
	buf := d.store.buffers.Get().(*[]byte)
	defer d.store.buffers.Put(buf)
	sum := sha256.New()
	if err := d.copy(src, sum, *buf); err != nil {
		return err
	}
	sum.Sum(d.Hash[:0])
	return file.Sync()
}

func (d *Draft) copy(src io.Reader, sum hash.Hash, buf []byte) error {
	for {
		n, err := fill(src, buf)
		if n > 0 {
			if !d.reserve(int64(n)) {
				return ErrNoSpace
			}
			sum.Write(buf[:n])
			if _, err := d.file.Write(buf[:n]); err != nil {
				return err
			}
			d.Size += int64(n)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// fill reads until buf is full or src has an error. Unlike io.ReadFull it does not
// make the end of src look as if src had been cut, nor the other way round.
func fill(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

// reserve takes space for n more bytes.
func (d *Draft) reserve(n int64) bool {
	more := d.Size + n - d.taken
	if more <= 0 {
		return true
	}
	if !d.store.space.take(more) {
		return false
	}
	d.taken += more
	return true
}

// Place puts the content in place under its hash, where it may be already. The caller
// holds the lock of the hash until the database says that the file is needed. A nil
// error says that the name has been synced.
func (d *Draft) Place() error {
	path := d.store.path(d.Hash)
	if info, err := os.Lstat(path); err != nil || info.Size() != d.Size {
		if err := os.Rename(d.file.Name(), path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// Read returns a reader of the content, wherever it is.
func (d *Draft) Read() io.ReadSeeker { return io.NewSectionReader(d.file, 0, d.Size) }

// Close removes what was not put in place and gives the space back.
func (d *Draft) Close() {
	if d.file != nil {
		_ = os.Remove(d.file.Name()) // placed ones have no such name any more
		_ = d.file.Close()           // synced or thrown away
		d.file = nil
	}
	d.store.space.give(d.taken)
	d.taken = 0
}

// Each calls f with hashes of files that are there, some at a time, until it returns
// an error. Files that come and go meanwhile may be among them or not. A file whose
// name is no hash is not ours and stays.
func (s *Store) Each(ctx context.Context, f func([]Hash) error) error {
	for i := range 256 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.eachIn(fmt.Sprintf("%02x", i), f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) eachIn(prefix string, f func([]Hash) error) error {
	dir, err := os.Open(filepath.Join(s.files(), prefix))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		var found []Hash
		for _, name := range names {
			if raw, err := hex.DecodeString(prefix + name); err == nil && len(raw) == sha256.Size {
				found = append(found, Hash(raw))
			}
		}
		if len(found) > 0 {
			if err := f(found); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// budget is a number of bytes that are free.
type budget struct {
	mu   sync.Mutex
	left int64
}

func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
