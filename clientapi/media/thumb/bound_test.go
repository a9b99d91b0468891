package thumb

import (
	"bytes"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"syscall"
	"testing"
	"time"
)

// slowest is how much of a CPU's time the worst animation may take.
const slowest = 3 * time.Second

// used is the CPU time of the process so far. Unlike the clock it does not run on while
// the machine does other things.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// costly makes an animation of frames that paint a part of a picture, as their disposal says.
func costly(t testing.TB, frames int, canvas, frame image.Rectangle, disposal byte, paint func(i, x, y int) uint8) []byte {
	t.Helper()
	g := &gif.GIF{Config: image.Config{ColorModel: color.Palette(palette.Plan9), Width: canvas.Dx(), Height: canvas.Dy()}}
	for i := range frames {
		p := make(color.Palette, 256) // each frame has colours of its own
		for c := range p {
			p[c] = color.RGBA{uint8(c*7 + i*3), uint8(c*13 + i*11), uint8(c*29 + i*17), 255}
		}
		img := image.NewPaletted(frame, p)
		for y := range frame.Dy() {
			for x := range frame.Dx() {
				img.Pix[y*img.Stride+x] = paint(i, x, y)
			}
		}
		g.Image, g.Delay, g.Disposal = append(g.Image, img), append(g.Delay, 1), append(g.Disposal, disposal)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCostlyAnimations shows that no small file keeps the thumbnailer busy: what takes
// too long is shown as its first picture.
func TestCostlyAnimations(t *testing.T) {
	flat := func(i, _, _ int) uint8 { return uint8(i) }
	noise := func(i, x, y int) uint8 { return uint8((x*2654435761 ^ y*40503 ^ i*97) >> 3) }
	box := func(w, h int) image.Rectangle { return image.Rect(0, 0, w, h) }
	for name, c := range map[string]struct { // just below the bounds, and above them
		file func() []byte
		spec Spec
	}{
		"large flat frames":       {func() []byte { return costly(t, 75, box(800, 800), box(800, 800), gif.DisposalNone, flat) }, Spec{Width: 32, Height: 32, Animated: true}},
		"large frames, kept":      {func() []byte { return costly(t, 75, box(800, 800), box(800, 800), gif.DisposalPrevious, flat) }, Spec{Width: 32, Height: 32, Animated: true}},
		"small frames, large":     {func() []byte { return costly(t, 300, box(570, 570), box(1, 1), gif.DisposalNone, flat) }, Spec{Width: 32, Height: 32, Animated: true}},
		"many colours, large":     {func() []byte { return costly(t, 25, box(800, 600), box(800, 600), gif.DisposalNone, noise) }, Spec{Width: 800, Height: 600, Animated: true}},
		"many colours, many":      {func() []byte { return costly(t, 160, box(320, 240), box(320, 240), gif.DisposalNone, noise) }, Spec{Width: 320, Height: 240, Animated: true}},
		"many colours, averaged":  {func() []byte { return costly(t, 155, box(560, 560), box(560, 560), gif.DisposalNone, noise) }, Spec{Width: 280, Height: 280, Animated: true}},
		"more than the bounds":    {func() []byte { return costly(t, 300, box(800, 800), box(300, 300), gif.DisposalNone, flat) }, Spec{Width: 800, Height: 600, Animated: true}},
		"a long strip":            {func() []byte { return costly(t, 150, box(16_000, 20), box(16_000, 20), gif.DisposalNone, noise) }, Spec{Width: 800, Height: 600, Animated: true}},
		"one frame, 32 megapixel": {func() []byte { return costly(t, 1, box(8000, 4000), box(8000, 4000), gif.DisposalNone, flat) }, Spec{Width: 800, Height: 600, Animated: true}},
	} {
		if raced && name != "one frame, 32 megapixel" && name != "small frames, large" {
			continue // takes minutes, and what is measured is the detector
		}
		file := c.file()
		info, err := Inspect(bytes.NewReader(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before := used(t)
		out, kind, err := Make(bytes.NewReader(file), info, c.spec)
		took := used(t) - before
		t.Logf("%-24s %8d bytes → %8d bytes of %s in %v", name, len(file), len(out), kind, took.Round(time.Millisecond))
		if err != nil || took > slowest && !raced {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}
