package thumb

import (
	"image"
	"image/draw"
)

// stripRows is how many rows are converted at once.
const stripRows = 16

// shrink makes part of an image smaller, or copies it, by averaging the area behind
// each pixel. Beside the images it takes a few rows of memory.
func shrink(img image.Image, part image.Rectangle, size image.Point) *image.RGBA {
	dst := image.NewRGBA(image.Rectangle{Max: size})
	part = part.Add(img.Bounds().Min)
	w, h := part.Dx(), part.Dy()
	columns, rows := shares(w, size.X), shares(h, size.Y)
	strip := image.NewRGBA(image.Rect(0, 0, w, min(h, stripRows)))
	sum := [2][]float32{make([]float32, 4*size.X+4), make([]float32, 4*size.X+4)} // this row of dst and the next
	line := make([]float32, 4*size.X+4)                                           // one more pixel, for the last share's rest
	at := 0
	for y := range h {
		if y%stripRows == 0 {
			draw.Draw(strip, strip.Rect, img, image.Pt(part.Min.X, part.Min.Y+y), draw.Src)
		}
		squeeze(line, strip.Pix[y%stripRows*strip.Stride:], columns)
		if rows[y].to > at {
			store(dst, at, sum[0])
			sum[0], sum[1] = sum[1], sum[0]
			clear(sum[1])
			at++
		}
		add(sum[0], line, rows[y].weight)
		if rows[y].rest > 0 {
			add(sum[1], line, rows[y].rest)
		}
	}
	store(dst, at, sum[0])
	return dst
}

// share says which pixels of the result a source pixel is part of: weight goes to
// one, rest to the next.
type share struct {
	to           int
	weight, rest float32
}

func shares(from, to int) []share {
	out := make([]share, from)
	for i := range out {
		// In units of 1/from of a result pixel the source pixel is [i × to, (i+1) × to).
		k := i * to / from
		end := min((i+1)*to, (k+1)*from)
		out[i] = share{k, float32(end-i*to) / float32(from), float32((i+1)*to-end) / float32(from)}
	}
	return out
}

// squeeze averages along a row.
func squeeze(line []float32, row []byte, columns []share) {
	clear(line)
	for x, c := range columns {
		p := row[4*x : 4*x+4 : 4*x+4]
		q := line[4*c.to : 4*c.to+8 : 4*c.to+8]
		r, g, b, a := float32(p[0]), float32(p[1]), float32(p[2]), float32(p[3])
		q[0] += r * c.weight
		q[1] += g * c.weight
		q[2] += b * c.weight
		q[3] += a * c.weight
		if c.rest > 0 {
			q[4] += r * c.rest
			q[5] += g * c.rest
			q[6] += b * c.rest
			q[7] += a * c.rest
		}
	}
}

func add(sum, line []float32, weight float32) {
	for i, v := range line {
		sum[i] += v * weight
	}
}

func store(dst *image.RGBA, y int, sum []float32) {
	row := dst.Pix[y*dst.Stride : y*dst.Stride+4*dst.Rect.Dx()]
	for i := range row {
		row[i] = byte(min(255, sum[i]+0.5))
	}
}
