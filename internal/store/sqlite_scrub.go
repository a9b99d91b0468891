package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// SQLite overwrites what it deletes (secure_delete). But when it moves rows from one page to
// another, it leaves a copy of them in what then is the unused part of a page. scrubber puts
// zeros there. It writes nothing but bytes that are not in use, of pages that are not in the
// WAL, so a reader sees the same rows before, meanwhile and afterwards.
type scrubber struct {
	// file is kept open for as long as the database is: to close any descriptor of a file
	// gives up all of SQLite's locks on it.
	file *os.File
	next int64 // page, from 1; 0: no pass is under way
	// passed says that a pass has ended, and began after so many commits.
	passed       bool
	begun, ended uint64
}

const (
	// scrubPages is how many pages one step looks at: 4 MiB.
	scrubPages = 1024
	// scrubLimit is the number of pages from which on an overflow page cannot be told from
	// one of a tree by its first byte.
	scrubLimit = 1 << 25
	// lockByte lies in a page that holds nothing.
	lockByte = 0x40000000
)

// step scrubs the next pages; whole says that the pass is over. The WAL must be empty and
// no connection that writes may have pages in memory.
func (s *scrubber) step() (whole bool, err error) {
	header := make([]byte, 100)
	if _, err := s.file.ReadAt(header, 0); errors.Is(err, io.EOF) {
		return true, nil // nothing was ever stored
	} else if err != nil {
		return false, fmt.Errorf("store: scrub: %w", err)
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size == 1 {
		size = 65536
	}
	usable := int(size) - int(header[20])
	pages := int64(binary.BigEndian.Uint32(header[28:]))
	vacuums := binary.BigEndian.Uint32(header[52:]) != 0
	if size < 512 || usable < 480 {
		return false, errors.New("store: scrub: the file has no SQLite header")
	}
	if pages >= scrubLimit {
		return false, fmt.Errorf("store: scrub: the file has more than %d pages", int64(scrubLimit))
	}
	s.next = max(s.next, 1)
	page, wrote := make([]byte, size), false
	for end := s.next + scrubPages; s.next < end && s.next <= pages; s.next++ {
		if s.next == lockByte/size+1 || vacuums && isPointerMap(s.next, size, int64(usable)) {
			continue
		}
		if _, err := s.file.ReadAt(page, (s.next-1)*size); err != nil {
			return false, fmt.Errorf("store: scrub: %w", err)
		}
		from, to := unused(page, s.next == 1, usable)
		if isZero(page[from:to]) {
			continue
		}
		if _, err := s.file.WriteAt(make([]byte, to-from), (s.next-1)*size+int64(from)); err != nil {
			return false, fmt.Errorf("store: scrub: %w", err)
		}
		wrote = true
	}
	if wrote {
		if err := s.file.Sync(); err != nil {
			return false, fmt.Errorf("store: scrub: %w", err)
		}
	}
	if s.next <= pages {
		return false, nil
	}
	s.next = 0
	return true, nil
}

// isPointerMap reports whether a page holds the pointers that auto_vacuum needs ("Pointer
// Map or Ptrmap Pages" of the file format).
func isPointerMap(page, size, usable int64) bool {
	if page < 2 {
		return false
	}
	each := usable/5 + 1
	at := (page-2)/each*each + 2
	if at == lockByte/size+1 {
		at++
	}
	return page == at
}

// unused is the part of a page between the pointers to its cells and the cells; empty if the
// page is not one of a tree ("B-tree Pages" of the file format).
func unused(page []byte, first bool, usable int) (from, to int) {
	at := 0
	if first {
		at = 100
	}
	head := page[at:]
	switch head[0] {
	case 0x0a, 0x0d:
		from = at + 8
	case 0x02, 0x05:
		from = at + 12
	default:
		return 0, 0
	}
	cells := int(binary.BigEndian.Uint16(head[3:]))
	if to = int(binary.BigEndian.Uint16(head[5:])); to == 0 {
		to = 65536
	}
	pointers := from
	from += 2 * cells
	if from > to || to > usable {
		return 0, 0
	}
	for p := pointers; p < from; p += 2 {
		if cell := int(binary.BigEndian.Uint16(page[p:])); cell < to || cell >= usable {
			return 0, 0
		}
	}
	return from, to
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
