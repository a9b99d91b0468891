package federationapi

import (
	"bufio"
	"io"
	"os"

	"hearth/internal/merr"
)

// maxSpoolMemory is how many bytes wait in memory before they go to a file.
const maxSpoolMemory = 4 << 20

// spool keeps chunks until they can be handed on: a little in memory, more in a file that has no
// name, so that it goes with the process.
type spool struct {
	dir    string
	memory [][]byte
	bytes  int
	file   *os.File
	w      *bufio.Writer
	sizes  []int // of the chunks in the file
}

// write keeps a chunk.
func (s *spool) write(chunk []byte) error {
	if s.file == nil && s.bytes+len(chunk) <= maxSpoolMemory {
		s.memory = append(s.memory, append([]byte(nil), chunk...))
		s.bytes += len(chunk)
		return nil
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, ".join-*")
		if err != nil {
			return merr.Internal(err)
		}
		s.file, s.w = f, bufio.NewWriterSize(f, 1<<20)
		if err := os.Remove(f.Name()); err != nil {
			return merr.Internal(err)
		}
	}
	s.sizes = append(s.sizes, len(chunk))
	if _, err := s.w.Write(chunk); err != nil {
		return merr.Internal(err)
	}
	return nil
}

// replay hands on what was kept, in order.
func (s *spool) replay(send func([]byte) error) error {
	for _, chunk := range s.memory {
		if err := send(chunk); err != nil {
			return err
		}
	}
	s.memory, s.bytes = nil, 0
	if s.file == nil {
		return nil
	}
	if err := s.w.Flush(); err != nil {
		return merr.Internal(err)
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return merr.Internal(err)
	}
	in := bufio.NewReaderSize(s.file, 1<<20)
	var buf []byte
	for _, n := range s.sizes {
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return merr.Internal(err)
		}
		if err := send(buf[:n]); err != nil {
			return err
		}
	}
	s.close()
	return nil
}

// close frees the file.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // nobody needs what is in it any more
		s.file, s.w, s.sizes = nil, nil, nil
	}
}
