package thumb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Bounds of animations; beyond them only the first picture is shown.
const (
	maxFrames      = 300
	maxFramePixels = 48 << 20 // all frames together, one byte each
	maxMadePixels  = 12 << 20 // of the thumbnail's frames together
	maxSeenPixels  = 96 << 20 // that are looked at: each frame makes a whole picture
)

func inspectGIF(r *bufio.Reader) (Info, error) {
	info := Info{Kind: GIF}
	b, err := take(r, 13)
	if err != nil {
		return info, err
	}
	info.Width, info.Height = int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	info.Memory = int64(info.Width) * int64(info.Height) * 5 // the picture, and what it is drawn on
	// Whether there is a second picture is known after the first. It does not matter
	// for a small file, and a large one is taken for an animation.
	frames, _, err := walkGIF(r, b[10], 2)
	info.Animated = frames > 1 || frames == 1 && err != nil
	return info, nil
}

// walkGIF counts frames and their pixels after the screen descriptor, whose flags it
// gets. It stops after most frames.
func walkGIF(r *bufio.Reader, flags byte, most int) (frames int, pixels int64, err error) {
	if err := skip(r, colors(flags)); err != nil {
		return 0, 0, err
	}
	for frames < most {
		b, err := r.ReadByte()
		if err != nil {
			return frames, pixels, ErrNotImage
		}
		switch b {
		case 0x21: // extension
			if err = skip(r, 1); err == nil {
				err = skipBlocks(r)
			}
		case 0x2c:
			var head []byte
			if head, err = take(r, 9); err != nil {
				break
			}
			frames++
			pixels += int64(binary.LittleEndian.Uint16(head[4:])) * int64(binary.LittleEndian.Uint16(head[6:]))
			if err = skip(r, colors(head[8])+1); err == nil {
				err = skipBlocks(r)
			}
		case 0x3b:
			return frames, pixels, nil
		default:
			err = ErrNotImage
		}
		if err != nil {
			return frames, pixels, err
		}
	}
	return frames, pixels, nil
}

// colors is the size of the colour table that flags announce.
func colors(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

func skipBlocks(r *bufio.Reader) error {
	for {
		n, err := r.ReadByte()
		if err != nil {
			return ErrNotImage
		}
		if n == 0 {
			return nil
		}
		if err := skip(r, int64(n)); err != nil {
			return err
		}
	}
}

var errManyFrames = errors.New("too many frames")

// countFrames checks that an animation may be decoded as a whole.
func countFrames(src io.ReadSeeker) (frames int, pixels int64, err error) {
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	r := bufio.NewReader(src)
	b, err := take(r, 13)
	if err != nil {
		return 0, 0, err
	}
	frames, pixels, err = walkGIF(r, b[10], maxFrames+1)
	if err == nil && (frames > maxFrames || pixels > maxFramePixels) {
		err = errManyFrames
	}
	return frames, pixels, err
}
