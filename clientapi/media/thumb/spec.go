package thumb

import (
	"fmt"
	"image"
)

// Spec says what a thumbnail is like.
type Spec struct {
	// Width and Height are the box in pixels.
	Width, Height int
	// Crop cuts the image to the aspect of the box; otherwise it is scaled to fit.
	Crop bool
	// Animated asks for moving pictures.
	Animated bool
}

// String names the thumbnail among those of an image.
func (s Spec) String() string {
	method, moving := "scale", ""
	if s.Crop {
		method = "crop"
	}
	if s.Animated {
		moving = "-animated"
	}
	return fmt.Sprintf("%dx%d-%s%s", s.Width, s.Height, method, moving)
}

// The sizes of the spec ("Thumbnails"), and one for dense displays.
var (
	scales = []image.Point{{320, 240}, {640, 480}, {800, 600}, {1600, 1200}}
	crops  = []int{32, 96, 320, 640, 800, 1600} // the longer side
)

// cropSteps is the number of aspects between a line and a square.
const cropSteps = 16

// Round returns the thumbnail that is made when one of width × height or more is asked
// for, so that there are few for each image. A box larger than all of them stands
// for the image as it is.
func Round(width, height int, crop, animated bool) Spec {
	s := Spec{Width: maxSide, Height: maxSide, Crop: crop, Animated: animated}
	if !crop {
		for _, p := range scales {
			if p.X >= width && p.Y >= height {
				s.Width, s.Height = p.X, p.Y
				break
			}
		}
		return s
	}
	long, short := max(width, height), min(width, height)
	for _, side := range crops {
		if side < long {
			continue
		}
		// The shorter side in the same aspect, rounded up to a step.
		step := (short*cropSteps + long - 1) / long
		s.Width, s.Height = side, max(1, side*step/cropSteps)
		if height > width {
			s.Width, s.Height = s.Height, s.Width
		}
		break
	}
	return s
}

// Original reports whether the image itself is what the spec asks for: it is small
// enough, and does not move against the will of the client.
func (i Info) Original(s Spec) bool {
	return i.Width <= s.Width && i.Height <= s.Height && (s.Animated || !i.Animated)
}

// Moving reports whether Make tries to make a thumbnail that moves. Only GIF is
// decoded as an animation.
func (i Info) Moving(s Spec) bool { return s.Animated && i.Animated && i.Kind == GIF }

// Weight is an upper bound of the memory that Make takes, in bytes.
func (i Info) Weight(s Spec) int64 {
	if i.Moving(s) {
		return 2*i.Memory + maxFramePixels + maxMadePixels
	}
	return i.Memory
}

// fit returns the part of a w × h image that is shown and the size of the thumbnail,
// which is never larger than that part.
func (s Spec) fit(w, h int) (part image.Rectangle, size image.Point) {
	part = image.Rect(0, 0, w, h)
	if s.Crop {
		// The largest part with the aspect of the box.
		pw, ph := w, max(1, divide(w*s.Height, s.Width))
		if ph > h {
			pw, ph = max(1, divide(h*s.Width, s.Height)), h
		}
		pw, ph = min(pw, w), min(ph, h)
		part = image.Rect(0, 0, pw, ph).Add(image.Pt((w-pw)/2, (h-ph)/2))
		return part, image.Pt(min(pw, s.Width), min(ph, s.Height))
	}
	size = image.Pt(w, h)
	if size.X > s.Width {
		size = image.Pt(s.Width, max(1, divide(h*s.Width, w)))
	}
	if size.Y > s.Height {
		size = image.Pt(max(1, divide(w*s.Height, h)), s.Height)
	}
	return part, size
}

// divide rounds.
func divide(a, b int) int { return (2*a + b) / (2 * b) }
