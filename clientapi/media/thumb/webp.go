package thumb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// Chunks of a WebP file (RFC 9649).
const (
	webpAnimation = 0x02 // flags of VP8X
	webpAlpha     = 0x10
)

func inspectWebP(r *bufio.Reader) (Info, error) {
	info := Info{Kind: WebP}
	if err := skip(r, 12); err != nil {
		return info, err
	}
	name, size, b, err := webpChunk(r)
	if err != nil {
		return info, err
	}
	if info.Width, info.Height, err = webpSize(name, b); err != nil {
		return info, err
	}
	// The lossless decoder keeps a pixel in four bytes, twice while it transforms.
	info.Memory = (int64(info.Width) + 15) * (int64(info.Height) + 15) * 8
	if name != "VP8X" {
		return info, nil
	}
	if info.Animated = b[0]&webpAnimation != 0; info.Animated {
		return info, nil
	}
	for { // the picture must be what the canvas says
		if err := skip(r, size+size&1-10); err != nil {
			return info, err
		}
		if name, size, b, err = webpChunk(r); err != nil {
			return info, err
		}
		if name == "VP8 " || name == "VP8L" {
			break
		}
	}
	w, h, err := webpSize(name, b)
	if err != nil || w != info.Width || h != info.Height {
		return info, ErrNotImage
	}
	return info, nil
}

// webpChunk reads the head of a chunk and its first ten bytes; zeros if it is shorter.
func webpChunk(r *bufio.Reader) (name string, size int64, b []byte, err error) {
	head, err := take(r, 8)
	if err != nil {
		return "", 0, nil, err
	}
	name, size = string(head[:4]), int64(binary.LittleEndian.Uint32(head[4:]))
	if size < 10 { // no chunk that matters is that small
		err = skip(r, size+size&1)
		return name, 10, make([]byte, 10), err
	}
	b, err = take(r, 10)
	return name, size, b, err
}

// webpSize reads the size from the first ten bytes of a chunk.
func webpSize(name string, b []byte) (w, h int, err error) {
	switch name {
	case "VP8X":
		return 1 + uint24(b[4:]), 1 + uint24(b[7:]), nil
	case "VP8 ":
		if b[0]&1 != 0 || string(b[3:6]) != "\x9d\x01\x2a" {
			return 0, 0, ErrNotImage
		}
		return int(binary.LittleEndian.Uint16(b[6:])) & 0x3fff, int(binary.LittleEndian.Uint16(b[8:])) & 0x3fff, nil
	case "VP8L":
		if b[0] != 0x2f {
			return 0, 0, ErrNotImage
		}
		bits := binary.LittleEndian.Uint32(b[1:])
		return int(bits&0x3fff) + 1, int(bits>>14&0x3fff) + 1, nil
	}
	return 0, 0, ErrNotImage
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// maxWebPFrame bounds the first frame of an animation as it is in the file.
const maxWebPFrame = 32 << 20

// firstFrame returns the first picture of an animated WebP as a file of its own, and
// where it is on the canvas.
func firstFrame(src io.ReadSeeker) (file []byte, x, y int, err error) {
	if _, err := src.Seek(12, io.SeekStart); err != nil {
		return nil, 0, 0, err
	}
	r := bufio.NewReader(io.LimitReader(src, headerBytes+maxWebPFrame))
	for {
		head, err := take(r, 8)
		if err != nil {
			return nil, 0, 0, err
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		if string(head[:4]) != "ANMF" {
			if err := skip(r, size+size&1); err != nil {
				return nil, 0, 0, err
			}
			continue
		}
		if size < 16 || size > maxWebPFrame {
			return nil, 0, 0, ErrNotImage
		}
		frame, err := io.ReadAll(io.LimitReader(r, size))
		if err != nil || int64(len(frame)) < size {
			return nil, 0, 0, ErrNotImage
		}
		return still(frame[6:12], frame[16:]), 2 * uint24(frame), 2 * uint24(frame[3:]), nil
	}
}

// still makes a file of the chunks of a frame. size is its size as VP8X writes it.
func still(size, chunks []byte) []byte {
	var b bytes.Buffer
	extended := bytes.HasPrefix(chunks, []byte("ALPH"))
	length := 4 + len(chunks)
	if extended {
		length += 18
	}
	b.WriteString("RIFF")
	_ = binary.Write(&b, binary.LittleEndian, uint32(length)) // a buffer takes everything
	b.WriteString("WEBP")
	if extended {
		b.WriteString("VP8X\x0a\x00\x00\x00")
		b.Write([]byte{webpAlpha, 0, 0, 0})
		b.Write(size)
	}
	b.Write(chunks)
	return b.Bytes()
}
