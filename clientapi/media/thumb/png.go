package thumb

import (
	"bufio"
	"encoding/binary"
)

// inspectPNG reads IHDR and looks for the chunk that makes an animation, which comes
// before the first picture.
func inspectPNG(r *bufio.Reader) (Info, error) {
	info := Info{Kind: PNG}
	if err := skip(r, 8); err != nil {
		return info, err
	}
	for first := true; ; first = false {
		head, err := take(r, 8)
		if err != nil {
			return info, err
		}
		size, name := int64(binary.BigEndian.Uint32(head)), string(head[4:])
		switch {
		case first != (name == "IHDR"), first && size != 13, name == "IEND":
			return info, ErrNotImage
		case first:
			b, err := take(r, 13)
			if err != nil {
				return info, err
			}
			info.header(b)
			if err := info.check(); err != nil {
				return info, err
			}
			size = 0
		case name == "acTL":
			info.Animated = true
			return info, nil
		case name == "IDAT":
			return info, nil
		}
		if err := skip(r, size+4); err != nil { // with the checksum
			return info, err
		}
	}
}

func (i *Info) header(b []byte) {
	w, h := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if w > 1<<31-1 || h > 1<<31-1 {
		return
	}
	i.Width, i.Height = int(w), int(h)
	pixel := int64(4)
	if b[8] == 16 {
		pixel = 8
	}
	i.Memory = int64(i.Width) * int64(i.Height) * pixel
	if b[12] != 0 { // interlaced: the last pass is an image of its own, of half the size
		i.Memory += i.Memory / 2
	}
}
