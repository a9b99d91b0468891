package torture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Operations of the record; see shim/record.c.
const (
	opWrite    = 1
	opSync     = 2
	opTruncate = 3
	opRemove   = 4
)

// op is one call that the server made.
type op struct {
	kind   uint32
	path   string
	offset int64 // of a truncation: the new length
	data   []byte
	end    int64 // where its record ends
}

// buildShim compiles the recorder.
func buildShim(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "record.so")
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", path, "shim/record.c", "-ldl", "-lpthread").CombinedOutput()
	if err != nil {
		t.Fatalf("compile the recorder: %v\n%s", err, out)
	}
	return path
}

// parseRecord returns the operations of a record. The last may be cut: its process was
// killed.
func parseRecord(text []byte) ([]op, error) {
	const header = 24
	var ops []op
	for at := 0; at+header <= len(text); {
		kind := binary.NativeEndian.Uint32(text[at:])
		pathLen := int(binary.NativeEndian.Uint32(text[at+4:]))
		offset := int64(binary.NativeEndian.Uint64(text[at+8:]))
		length := 0
		if kind == opWrite {
			length = int(binary.NativeEndian.Uint64(text[at+16:]))
		}
		if kind < opWrite || kind > opRemove || pathLen > 4096 || length > 1<<30 {
			return nil, fmt.Errorf("the record is damaged at %d", at)
		}
		end := at + header + pathLen + length
		if end > len(text) {
			break
		}
		path := text[at+header : at+header+pathLen]
		ops = append(ops, op{kind, string(path), offset, text[at+header+pathLen : end], int64(end)})
		at = end
	}
	return ops, nil
}

// image is what a disk may hold: by path, the content.
type image map[string][]byte

func (m image) apply(o op) {
	switch o.kind {
	case opWrite:
		m.write(o.path, o.offset, o.data)
	case opTruncate:
		have := m[o.path]
		if int64(len(have)) < o.offset {
			have = append(have, make([]byte, o.offset-int64(len(have)))...)
		}
		m[o.path] = have[:o.offset:o.offset]
	case opRemove:
		delete(m, o.path)
	}
}

func (m image) write(path string, offset int64, data []byte) {
	have := m[path]
	if end := offset + int64(len(data)); int64(len(have)) < end {
		have = append(have, make([]byte, end-int64(len(have)))...)
	}
	copy(have[offset:], data)
	m[path] = have
}

const (
	page   = 4096
	sector = 512
)

// powerCut returns what the disk may hold if the power fails after the operations up to the
// record's byte cut: what was synced, and of what was not any pages, now and then with only
// some of their sectors. Names appear and vanish at once.
func powerCut(ops []op, cut int64, rng *rand.Rand) (m image, dropped int) {
	m = image{}
	pending := map[string][]op{}
	var paths []string // in their order, so that a seed replays
	for _, o := range ops {
		if o.end > cut {
			break
		}
		if _, ok := pending[o.path]; !ok {
			paths = append(paths, o.path)
		}
		switch o.kind {
		case opSync, opRemove:
			for _, p := range pending[o.path] {
				m.apply(p)
			}
			pending[o.path] = []op{}
			if o.kind == opRemove {
				m.apply(o)
			}
		default:
			pending[o.path] = append(pending[o.path], o)
		}
	}
	for _, path := range paths {
		keep := []int{0, 50, 95}[rng.IntN(3)] // percent of what was not synced
		for _, o := range pending[path] {
			if o.kind != opWrite {
				if rng.IntN(100) < keep {
					m.apply(o)
				} else {
					dropped++
				}
				continue
			}
			for at := 0; at < len(o.data); at += page {
				part := o.data[at:min(at+page, len(o.data))]
				if rng.IntN(100) >= keep {
					dropped++
					continue
				}
				if rng.IntN(10) == 0 {
					part = part[:min(len(part), sector*rng.IntN(page/sector+1))]
				}
				m.write(path, o.offset+int64(at), part)
			}
		}
	}
	return m, dropped
}

// put writes the image, whose files were in the directory from, into another.
func (m image) put(from, to string) error {
	for path, content := range m {
		rest, err := filepath.Rel(from, path)
		if err != nil || !filepath.IsLocal(rest) {
			return errors.Join(err, fmt.Errorf("%s is not in %s", path, from))
		}
		if err := os.WriteFile(filepath.Join(to, rest), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// What was synced is always there; of the rest everything may happen.
func TestPowerCutImages(t *testing.T) {
	ops := []op{
		{opWrite, "/d/a.db", 0, []byte("synced"), 10}, {opSync, "/d/a.db", 0, nil, 20},
		{opWrite, "/d/a.db", 0, []byte("SYN"), 30}, {opTruncate, "/d/a.db", 4, nil, 40},
		{opWrite, "/d/b.db", 0, []byte("b"), 50}, {opRemove, "/d/b.db", 0, nil, 60},
	}
	seen := map[string]bool{}
	for i := range uint64(300) {
		m, _ := powerCut(ops, 50, rand.New(rand.NewPCG(i, 1)))
		seen[string(m["/d/a.db"])] = true
	}
	for _, want := range []string{"synced", "SYNced", "sync", "SYNc"} {
		if !seen[want] {
			t.Errorf("%q never happened", want)
		}
	}
	if len(seen) > 4+2 { // and parts of a sector
		t.Errorf("seen: %v", seen)
	}
	if m, dropped := powerCut(ops, 20, rand.New(rand.NewPCG(1, 1))); string(m["/d/a.db"]) != "synced" || dropped != 0 {
		t.Errorf("after a sync: %q, %d dropped", m["/d/a.db"], dropped)
	}
	if m, _ := powerCut(ops, 60, rand.New(rand.NewPCG(1, 1))); m["/d/b.db"] != nil {
		t.Error("a removed file is there")
	}
}
