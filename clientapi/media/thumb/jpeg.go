package thumb

import (
	"bufio"
	"bytes"
	"encoding/binary"
)

// inspectJPEG walks the segments up to the frame header.
func inspectJPEG(r *bufio.Reader) (Info, error) {
	info := Info{Kind: JPEG, orientation: 1}
	if err := skip(r, 2); err != nil {
		return info, err
	}
	for {
		marker, err := nextMarker(r)
		if err != nil {
			return info, err
		}
		if marker == 0x01 || marker >= 0xd0 && marker <= 0xd8 { // no length
			continue
		}
		size, err := take(r, 2)
		if err != nil {
			return info, err
		}
		n := int(binary.BigEndian.Uint16(size)) - 2
		switch {
		case n < 0, marker == 0xd9, marker == 0xda: // the end, or data, before a frame
			return info, ErrNotImage
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			return info, info.frame(r, marker, n)
		case marker == 0xe1:
			segment, err := take(r, n)
			if err != nil {
				return info, err
			}
			if o := orientation(segment); o != 0 {
				info.orientation = o
			}
		default:
			if err := skip(r, int64(n)); err != nil {
				return info, err
			}
		}
	}
}

func nextMarker(r *bufio.Reader) (byte, error) {
	b, err := r.ReadByte()
	if err != nil || b != 0xff {
		return 0, ErrNotImage
	}
	for b == 0xff && err == nil {
		b, err = r.ReadByte()
	}
	if err != nil || b == 0 {
		return 0, ErrNotImage
	}
	return b, nil
}

// frame reads a frame header (ITU T.81, B.2.2).
func (i *Info) frame(r *bufio.Reader, marker byte, n int) error {
	b, err := take(r, n)
	if err != nil {
		return err
	}
	if n < 6 || n < 6+3*int(b[5]) || marker > 0xc2 { // only baseline, extended and progressive are decoded
		return ErrNotImage
	}
	i.Height, i.Width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	components := int64(b[5])
	if components == 0 || components > 4 {
		return ErrNotImage
	}
	// Sides are rounded up to whole units of at most 32 × 32. A pixel has one byte for
	// each component, or less with subsampling; a progressive image is first kept as
	// coefficients of four bytes each. Inks are converted into another image, and so is
	// RGB, which a segment that may follow can make of three components.
	area := (int64(i.Width) + 31) &^ 31 * ((int64(i.Height) + 31) &^ 31)
	samples := area * components
	if components == 3 && b[7] == 0x22 && b[10] == 0x11 && b[13] == 0x11 {
		samples = area * 3 / 2
	} else if components == 3 && b[7] == 0x21 && b[10] == 0x11 && b[13] == 0x11 {
		samples = area * 2
	}
	i.Memory = samples
	if marker == 0xc2 {
		i.Memory += 4 * samples
	}
	if components >= 3 {
		i.Memory += 4 * area
	}
	if i.orientation >= 5 {
		i.Width, i.Height = i.Height, i.Width
	}
	return nil
}

// orientation reads the tag of that name from an EXIF segment, 0 if there is none
// (CIPA DC-008, 4.6).
func orientation(segment []byte) int {
	tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00"))
	if !ok || len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.BigEndian
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
	default:
		return 0
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 0
	}
	count := uint64(order.Uint16(tiff[at:]))
	for k := range count {
		entry := at + 2 + 12*k
		if entry+12 > uint64(len(tiff)) {
			return 0
		}
		const tag, short = 0x0112, 3
		if order.Uint16(tiff[entry:]) != tag {
			continue
		}
		value := int(order.Uint16(tiff[entry+8:]))
		if order.Uint16(tiff[entry+2:]) != short || value < 1 || value > 8 {
			return 0
		}
		return value
	}
	return 0
}
