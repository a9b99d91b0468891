package thumb

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"io"
	"slices"
)

// animate makes a thumbnail of all frames of a GIF.
func animate(src io.ReadSeeker, info Info, s Spec) ([]byte, error) {
	n, _, err := countFrames(src)
	if err != nil {
		return nil, err
	}
	part, size := s.fit(info.Width, info.Height)
	if n*size.X*size.Y > maxMadePixels || n*info.Width*info.Height > maxSeenPixels {
		return nil, errManyFrames
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	in, err := gif.DecodeAll(bufio.NewReaderSize(src, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotImage, err)
	}
	out := &gif.GIF{LoopCount: in.LoopCount, Config: image.Config{Width: size.X, Height: size.Y}}
	canvas := image.NewRGBA(image.Rect(0, 0, info.Width, info.Height))
	for i, frame := range in.Image {
		before := under(canvas, frame.Rect, in.Disposal[i])
		draw.Draw(canvas, frame.Rect, frame, frame.Rect.Min, draw.Over)
		out.Image = append(out.Image, quantize(shrink(canvas, part, size)))
		out.Delay = append(out.Delay, in.Delay[i])
		// Each frame is whole, so what was there before must go where it is transparent.
		out.Disposal = append(out.Disposal, gif.DisposalBackground)
		if before != nil {
			draw.Draw(canvas, frame.Rect, before, frame.Rect.Min, draw.Src)
		}
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, out); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// under returns what is put where the frame was when its time is over, nil: nothing.
func under(canvas *image.RGBA, r image.Rectangle, disposal byte) image.Image {
	switch disposal {
	case gif.DisposalBackground:
		return image.Transparent
	case gif.DisposalPrevious:
		before := image.NewRGBA(r)
		draw.Draw(before, r, canvas, r.Min, draw.Src)
		return before
	}
	return nil
}

// cell is a set of similar colours: those with the same upper five bits.
type cell struct{ n, r, g, b int }

const cells = 1 << 15

func cellOf(p []byte) int { return int(p[0])>>3<<10 | int(p[1])>>3<<5 | int(p[2])>>3 }

// quantize paints an image with the most frequent of its colours. Index 0 is
// transparent, for all that is more so than not.
func quantize(img *image.RGBA) *image.Paletted {
	counts := make([]cell, cells)
	for p := img.Pix; len(p) > 0; p = p[4:] {
		if p[3] >= 128 {
			c := &counts[cellOf(p)]
			c.n, c.r, c.g, c.b = c.n+1, c.r+int(p[0]), c.g+int(p[1]), c.b+int(p[2])
		}
	}
	var used []int
	for k, c := range counts {
		if c.n > 0 {
			used = append(used, k)
		}
	}
	slices.SortFunc(used, func(a, b int) int { return cmp.Or(counts[b].n-counts[a].n, a-b) })
	palette := color.Palette{color.RGBA{}}
	index := make([]uint8, cells)
	var like [cells / 8]uint8 // for eight cells together: rare colours need no better
	for _, k := range used {
		c := counts[k]
		rgb := color.RGBA{uint8(c.r / c.n), uint8(c.g / c.n), uint8(c.b / c.n), 255}
		if len(palette) < 256 {
			index[k] = uint8(len(palette))
			palette = append(palette, rgb)
			continue
		}
		group := k>>11&15<<8 | k>>6&15<<4 | k>>1&15
		if like[group] == 0 {
			like[group] = nearest(palette, rgb)
		}
		index[k] = like[group]
	}
	out := image.NewPaletted(img.Rect, palette)
	for i := range out.Pix {
		if p := img.Pix[4*i:]; p[3] >= 128 {
			out.Pix[i] = index[cellOf(p)]
		}
	}
	return out
}

func nearest(palette color.Palette, c color.RGBA) uint8 {
	best, least := 1, 1<<30
	for i, other := range palette[1:] {
		o := other.(color.RGBA)
		r, g, b := int(o.R)-int(c.R), int(o.G)-int(c.G), int(o.B)-int(c.B)
		if d := r*r + g*g + b*b; d < least {
			best, least = i+1, d
		}
	}
	return uint8(best)
}
