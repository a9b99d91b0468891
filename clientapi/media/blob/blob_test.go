package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func open(t *testing.T, dir string, space int64) *Store {
	t.Helper()
	s, err := Open(dir, space)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string) Hash {
	t.Helper()
	d, err := s.Write(strings.NewReader(content), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	defer s.Lock(d.Hash)()
	if err := d.Place(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(d.Read()); err != nil || string(all) != content {
		t.Errorf("a draft reads %q, %v", all, err)
	}
	return d.Hash
}

func all(t *testing.T, s *Store) map[Hash]bool {
	t.Helper()
	out := map[Hash]bool{}
	if err := s.Each(context.Background(), func(some []Hash) error {
		for _, h := range some {
			out[h] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func drafts(t *testing.T, s *Store) int {
	t.Helper()
	list, err := os.ReadDir(s.tmp())
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestSameContentIsThereOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, dir, 1<<20)
	h := put(t, s, "hello")
	if h != Hash(sha256.Sum256([]byte("hello"))) {
		t.Errorf("hash %s", h)
	}
	put(t, s, "hello")
	empty := put(t, s, "")
	if got := all(t, s); len(got) != 2 || !got[h] || !got[empty] || drafts(t, s) != 0 {
		t.Errorf("%v, %d drafts", got, drafts(t, s))
	}
	s = open(t, dir, 1<<20)
	f, err := s.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if content, err := io.ReadAll(f); err != nil || string(content) != "hello" {
		t.Errorf("%q, %v", content, err)
	}
	for range 2 {
		if err := s.Remove(h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open(h); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v after removal", err)
	}
}

// A file that was cut, by hand or by a broken disk, is replaced by the next one.
func TestCutFileIsReplaced(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	h := put(t, s, "hello")
	if err := os.Truncate(s.path(h), 2); err != nil {
		t.Fatal(err)
	}
	put(t, s, "hello")
	if content, err := os.ReadFile(s.path(h)); err != nil || string(content) != "hello" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	s := open(t, t.TempDir(), 1000)
	broken := errors.New("the client went away")
	for _, broken := range []error{broken, io.ErrUnexpectedEOF} {
		src := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
		if _, err := s.Write(src, 8); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	}
	d, err := s.Write(strings.NewReader("never placed"), -1)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if len(all(t, s)) != 0 || drafts(t, s) != 0 || s.space.left != 1000 {
		t.Errorf("%d files, %d drafts, %d bytes free", len(all(t, s)), drafts(t, s), s.space.left)
	}
}

func TestSpaceIsBounded(t *testing.T) {
	s := open(t, t.TempDir(), 1000)
	d, err := s.Write(bytes.NewReader(make([]byte, 600)), 600)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{401, -1, 10} { // announced, not announced, announced wrong
		if _, err := s.Write(bytes.NewReader(make([]byte, 401)), size); !errors.Is(err, ErrNoSpace) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	d.Close()
	d.Close()
	if s.space.left != 1000 || drafts(t, s) != 0 {
		t.Errorf("%d bytes free, %d drafts", s.space.left, drafts(t, s))
	}
}

func TestOpenRemovesDrafts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1000)
	if _, err := s.Write(strings.NewReader("left behind"), -1); err != nil { // not closed, as after a crash
		t.Fatal(err)
	}
	if drafts(t, s) != 1 {
		t.Fatal("no draft")
	}
	if n := drafts(t, open(t, dir, 1000)); n != 0 {
		t.Errorf("%d drafts after a restart", n)
	}
}
