// Package thumb makes small images of large ones that nobody vouches for.
//
// What an image is, is read from its content. [Inspect] reads the header with a few
// kilobytes of memory and refuses what would take too much to decode; only what has
// passed is decoded, by [Make]. Metadata is never copied.
package thumb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is decoded.
const (
	maxSide   = 16_384
	maxPixels = 32 << 20
	// MaxMemory is the most that Make takes to decode one image, in bytes.
	MaxMemory = 384 << 20
	// headerBytes is how far into a file its header may reach: metadata comes first.
	headerBytes = 16 << 20
)

var (
	// ErrNotImage: the content is nothing that can be made smaller.
	ErrNotImage = errors.New("not an image of a known kind")
	// ErrTooLarge: it is an image, and too large to decode.
	ErrTooLarge = errors.New("the image is too large")
)

// Kind is a format of images.
type Kind int

// The formats that are decoded.
const (
	JPEG Kind = iota + 1
	PNG
	GIF
	WebP
)

// ContentType returns the media type.
func (k Kind) ContentType() string {
	return [...]string{"", "image/jpeg", "image/png", "image/gif", "image/webp"}[k]
}

// Info is what the header of an image says.
type Info struct {
	Kind Kind
	// Width and Height are in pixels, as the image is to be shown.
	Width, Height int
	// Animated says that there is more than one picture, or may be.
	Animated bool
	// Memory is an upper bound of what decoding takes, in bytes.
	Memory int64

	orientation int // EXIF: 1…8
}

// Inspect reads the header of an image. Errors other than ErrNotImage and ErrTooLarge
// are of src.
func Inspect(src io.ReadSeeker) (Info, error) {
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return Info{}, err
	}
	guard := &guard{src: io.LimitReader(src, headerBytes)}
	r := bufio.NewReaderSize(guard, 4096)
	info, err := inspect(r)
	if guard.err != nil {
		return Info{}, guard.err
	}
	if err != nil {
		return Info{}, err
	}
	return info, info.check()
}

func inspect(r *bufio.Reader) (Info, error) {
	head, _ := r.Peek(12) // a short one is none of these
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		return inspectJPEG(r)
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		return inspectPNG(r)
	case bytes.HasPrefix(head, []byte("GIF87a")), bytes.HasPrefix(head, []byte("GIF89a")):
		return inspectGIF(r)
	case len(head) == 12 && bytes.HasPrefix(head, []byte("RIFF")) && string(head[8:]) == "WEBP":
		return inspectWebP(r)
	}
	return Info{}, ErrNotImage
}

func (i Info) check() error {
	switch {
	case i.Width <= 0 || i.Height <= 0:
		return ErrNotImage
	case i.Width > maxSide || i.Height > maxSide || int64(i.Width)*int64(i.Height) > maxPixels:
		return fmt.Errorf("%w: %d × %d pixels", ErrTooLarge, i.Width, i.Height)
	case i.Memory > MaxMemory:
		return fmt.Errorf("%w: it takes %d bytes", ErrTooLarge, i.Memory)
	}
	return nil
}

// guard tells errors of the disk from ends of the file.
type guard struct {
	src io.Reader
	err error
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.src.Read(p)
	if err != nil && err != io.EOF {
		g.err = err
	}
	return n, err
}

// take reads n bytes, of which there must be enough.
func take(r *bufio.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, ErrNotImage
	}
	return b, nil
}

func skip(r *bufio.Reader, n int64) error {
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return ErrNotImage
	}
	return nil
}
