package thumb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

var (
	red   = color.RGBA{255, 0, 0, 255}
	green = color.RGBA{0, 255, 0, 255}
	blue  = color.RGBA{0, 0, 255, 255}
	white = color.RGBA{255, 255, 255, 255}
)

// quarters is an image with another colour in each quarter: red, green, blue, white.
func quarters(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := red
			switch {
			case y >= h/2 && x >= w/2:
				c = white
			case y >= h/2:
				c = blue
			case x >= w/2:
				c = green
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withEXIF puts an orientation and a note into a JPEG.
func withEXIF(file []byte, orientation int, order binary.AppendByteOrder) []byte {
	tiff := []byte("MM\x00*")
	if order.String() == binary.LittleEndian.String() {
		tiff = []byte("II*\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	for _, entry := range [][3]uint16{{0x0100, 3, 7}, {0x0112, 3, uint16(orientation)}} {
		tiff = order.AppendUint16(tiff, entry[0])
		tiff = order.AppendUint16(tiff, entry[1])
		tiff = order.AppendUint32(tiff, 1)
		tiff = order.AppendUint16(tiff, entry[2])
		tiff = order.AppendUint16(tiff, 0)
	}
	segment := append([]byte("Exif\x00\x00"), append(tiff, "canary: 48.8584 N 2.2945 E"...)...)
	out := append([]byte{}, file[:2]...)
	out = append(out, 0xff, 0xe1)
	out = binary.BigEndian.AppendUint16(out, uint16(len(segment)+2))
	return append(append(out, segment...), file[2:]...)
}

func mustMake(t *testing.T, file []byte, s Spec) (image.Image, string, []byte) {
	t.Helper()
	info, err := Inspect(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	out, contentType, err := Make(bytes.NewReader(file), info, s)
	if err != nil {
		t.Fatal(err)
	}
	img, format, err := image.Decode(bytes.NewReader(out))
	if err != nil || "image/"+format != contentType {
		t.Fatalf("%s is %s: %v", contentType, format, err)
	}
	return img, contentType, out
}

func near(a color.Color, b color.RGBA) bool {
	r, g, bl, al := a.RGBA()
	for _, d := range []int{int(r>>8) - int(b.R), int(g>>8) - int(b.G), int(bl>>8) - int(b.B), int(al>>8) - int(b.A)} {
		if d < -12 || d > 12 {
			return false
		}
	}
	return true
}

// corners checks the colours of the quarters.
func corners(t *testing.T, img image.Image, want ...color.RGBA) {
	t.Helper()
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	for i, p := range []image.Point{{w / 8, h / 8}, {w - 1 - w/8, h / 8}, {w / 8, h - 1 - h/8}, {w - 1 - w/8, h - 1 - h/8}} {
		if got := img.At(img.Bounds().Min.X+p.X, img.Bounds().Min.Y+p.Y); !near(got, want[i]) {
			t.Errorf("corner %d is %v, want %v", i, got, want[i])
		}
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		w, h int
		crop bool
		want string
	}{
		{1, 1, false, "320x240-scale"}, {320, 240, false, "320x240-scale"}, {321, 240, false, "640x480-scale"},
		{320, 241, false, "640x480-scale"}, {800, 600, false, "800x600-scale"}, {801, 600, false, "1600x1200-scale"},
		{1601, 1, false, "16384x16384-scale"}, {9e9, 9e9, false, "16384x16384-scale"},
		{1, 1, true, "32x32-crop"}, {32, 32, true, "32x32-crop"}, {33, 33, true, "96x96-crop"}, {97, 97, true, "320x320-crop"},
		{200, 100, true, "320x160-crop"}, {100, 200, true, "160x320-crop"}, {320, 239, true, "320x240-crop"},
		{1000, 1, true, "1600x100-crop"}, {1601, 1601, true, "16384x16384-crop"},
	} {
		if got := Round(c.w, c.h, c.crop, false).String(); got != c.want {
			t.Errorf("%d × %d: %s, want %s", c.w, c.h, got, c.want)
		}
	}
	if got := Round(1, 1, true, true).String(); got != "32x32-crop-animated" {
		t.Error(got)
	}
	// What is made is never smaller than what is asked for, and there are few of them.
	variants := map[string]bool{}
	for w := 1; w <= 1600; w += 7 {
		for h := 1; h <= 1600; h += 7 {
			s := Round(w, h, true, false)
			if s.Width < w || s.Height < h {
				t.Fatalf("%d × %d: %v", w, h, s)
			}
			variants[s.String()] = true
		}
	}
	if len(variants) > 200 {
		t.Errorf("%d variants", len(variants))
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct{ w, h, sw, sh, crop, ow, oh int }{
		{1000, 500, 320, 240, 0, 320, 160}, {500, 1000, 320, 240, 0, 120, 240}, {1000, 1, 320, 240, 0, 320, 1},
		{1000, 500, 96, 96, 1, 96, 96}, {500, 50, 96, 96, 1, 50, 50}, {96, 1000, 320, 160, 1, 96, 48},
		{2000, 1000, 320, 320, 1, 320, 320}, {333, 333, 320, 320, 0, 320, 320},
	} {
		img, _, _ := mustMake(t, asPNG(t, quarters(c.w, c.h)), Spec{Width: c.sw, Height: c.sh, Crop: c.crop == 1})
		if b := img.Bounds(); b.Dx() != c.ow || b.Dy() != c.oh {
			t.Errorf("%+v: got %v", c, b)
		}
	}
}

func TestPictures(t *testing.T) {
	paletted := image.NewPaletted(image.Rect(0, 0, 400, 400), color.Palette{red, green, blue, white})
	for i := range paletted.Pix {
		x, y := i%400, i/400
		paletted.Pix[i] = uint8(x/200 + 2*(y/200))
	}
	var asGIF bytes.Buffer
	if err := gif.Encode(&asGIF, quarters(400, 400), nil); err != nil {
		t.Fatal(err)
	}
	deep := image.NewNRGBA64(image.Rect(0, 0, 400, 400))
	for y := range 400 {
		for x := range 400 {
			deep.Set(x, y, quarters(2, 2).At(x/200, y/200))
		}
	}
	for name, c := range map[string]struct {
		file []byte
		kind string
	}{
		"PNG": {asPNG(t, quarters(400, 400)), "image/png"}, "PNG with palette": {asPNG(t, paletted), "image/png"},
		"deep PNG": {asPNG(t, deep), "image/png"},
		"GIF":      {asGIF.Bytes(), "image/png"}, "JPEG": {asJPEG(t, quarters(400, 400)), "image/jpeg"},
	} {
		t.Run(name, func(t *testing.T) {
			img, kind, _ := mustMake(t, c.file, Spec{Width: 96, Height: 96})
			if kind != c.kind {
				t.Errorf("type %s", kind)
			}
			corners(t, img, red, green, blue, white)
		})
	}
	half := image.NewNRGBA(image.Rect(0, 0, 400, 400))
	for i := range half.Pix {
		half.Pix[i] = 128
	}
	img, _, _ := mustMake(t, asPNG(t, half), Spec{Width: 96, Height: 96})
	if c := color.NRGBAModel.Convert(img.At(50, 50)).(color.NRGBA); c.A != 128 || c.R < 127 || c.R > 129 {
		t.Errorf("half transparent grey became %v", c)
	}
}

func TestOrientation(t *testing.T) {
	want := map[int][]color.RGBA{
		1: {red, green, blue, white}, 2: {green, red, white, blue}, 3: {white, blue, green, red}, 4: {blue, white, red, green},
		5: {red, blue, green, white}, 6: {blue, red, white, green}, 7: {white, green, blue, red}, 8: {green, white, red, blue},
	}
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		for o, colors := range want {
			file := withEXIF(asJPEG(t, quarters(400, 200)), o, order)
			img, _, out := mustMake(t, file, Spec{Width: 96, Height: 96})
			w, h := 96, 48
			if o >= 5 {
				w, h = h, w
			}
			if b := img.Bounds(); b.Dx() != w || b.Dy() != h {
				t.Errorf("orientation %d: %v", o, b)
			}
			corners(t, img, colors...)
			if bytes.Contains(out, []byte("Exif")) || bytes.Contains(out, []byte("canary")) {
				t.Error("metadata is in the thumbnail")
			}
		}
	}
	for _, o := range []int{0, 9, 65535} {
		img, _, _ := mustMake(t, withEXIF(asJPEG(t, quarters(400, 200)), o, binary.BigEndian), Spec{Width: 96, Height: 96})
		corners(t, img, red, green, blue, white)
	}
}

// animation has a moving square; each frame covers a part.
func animation(t testing.TB, frames, w, h int) []byte {
	t.Helper()
	g := &gif.GIF{Config: image.Config{Width: w, Height: h}}
	palette := color.Palette{color.RGBA{}, red, green, blue, white}
	for i := range frames {
		r := image.Rect(0, 0, w, h)
		if i > 0 {
			r = image.Rect(w/2, h/2, w, h)
		}
		f := image.NewPaletted(r, palette)
		for k := range f.Pix {
			f.Pix[k] = uint8(1 + i%4)
		}
		g.Image, g.Delay, g.Disposal = append(g.Image, f), append(g.Delay, 10+i), append(g.Disposal, gif.DisposalNone)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnimation(t *testing.T) {
	file := animation(t, 4, 800, 400)
	_, kind, out := mustMake(t, file, Spec{Width: 320, Height: 240, Animated: true})
	if kind != "image/gif" {
		t.Fatal(kind)
	}
	g, err := gif.DecodeAll(bytes.NewReader(out))
	if err != nil || len(g.Image) != 4 || g.Config.Width != 320 || g.Config.Height != 160 || g.Delay[2] != 12 {
		t.Fatalf("%v: %d frames, %v", err, len(g.Image), g.Config)
	}
	for i, last := range []color.RGBA{red, green, blue, white} {
		corners(t, g.Image[i], red, red, red, last)
	}
	if img, kind, _ := mustMake(t, file, Spec{Width: 320, Height: 240}); kind != "image/png" {
		t.Errorf("not animated: %s", kind)
	} else {
		corners(t, img, red, red, red, red)
	}
	// Too many frames, or a broken end: the first picture.
	for name, file := range map[string][]byte{"long": animation(t, maxFrames+1, 40, 20), "cut": file[:len(file)-8]} {
		if _, kind, _ := mustMake(t, file, Spec{Width: 32, Height: 32, Animated: true}); kind != "image/png" {
			t.Errorf("%s: %s", name, kind)
		}
	}
}

func TestOriginal(t *testing.T) {
	for _, c := range []struct {
		file []byte
		spec Spec
		want bool
	}{
		{asPNG(t, quarters(96, 96)), Spec{Width: 96, Height: 96, Crop: true}, true},
		{asPNG(t, quarters(97, 96)), Spec{Width: 96, Height: 96, Crop: true}, false},
		{animation(t, 2, 10, 10), Spec{Width: 96, Height: 96, Animated: true}, true},
		{animation(t, 2, 10, 10), Spec{Width: 96, Height: 96}, false},
		{animation(t, 1, 10, 10), Spec{Width: 96, Height: 96}, true},
	} {
		info, err := Inspect(bytes.NewReader(c.file))
		if err != nil || info.Original(c.spec) != c.want {
			t.Errorf("%+v %+v: %v", info, c.spec, err)
		}
	}
}

const (
	lossy    = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
	lossless = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
)

func chunk(name string, body []byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
	out = append(out, body...)
	if len(body)%2 == 1 {
		out = append(out, 0)
	}
	return out
}

func webpFile(chunks ...[]byte) []byte {
	body := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
	return chunk("RIFF", body)
}

func vp8x(flags byte, w, h int) []byte {
	return chunk("VP8X", []byte{flags, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), byte((w - 1) >> 16), byte(h - 1), byte((h - 1) >> 8), byte((h - 1) >> 16)})
}

func decode64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWebP(t *testing.T) {
	for _, s := range []string{lossy, lossless} {
		file := decode64(t, s)
		mustMake(t, file, Spec{Width: 32, Height: 32})
		mustMake(t, webpFile(vp8x(0, 1, 1), chunk("EXIF", []byte("odd")), file[12:]), Spec{Width: 32, Height: 32})
		frame := append([]byte{1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0}, file[12:]...)
		moving := webpFile(vp8x(webpAnimation, 4, 4), chunk("ANIM", make([]byte, 6)), chunk("ANMF", frame))
		img, _, _ := mustMake(t, moving, Spec{Width: 32, Height: 32})
		if b := img.Bounds(); b.Dx() != 4 || b.Dy() != 4 {
			t.Errorf("canvas %v", b)
		}
		if info, _ := Inspect(bytes.NewReader(moving)); !info.Animated {
			t.Error("not animated")
		}
		// The picture is larger than the canvas says, or outside of it.
		for name, file := range map[string][]byte{
			"still": webpFile(vp8x(0, 2, 1), file[12:]),
			"small": webpFile(vp8x(webpAnimation, 2, 2), chunk("ANMF", frame)),
			"empty": webpFile(vp8x(webpAnimation, 2, 2)),
			"short": webpFile(vp8x(webpAnimation, 2, 2), chunk("ANMF", frame[:12])),
		} {
			info, err := Inspect(bytes.NewReader(file))
			if err == nil {
				_, _, err = Make(bytes.NewReader(file), info, Spec{Width: 32, Height: 32})
			}
			if !errors.Is(err, ErrNotImage) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// hugePNG is a real PNG of that size in few bytes.
func hugePNG(t testing.TB, w, h int) []byte {
	t.Helper()
	file := asPNG(t, image.NewGray(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(file[16:], uint32(w))
	binary.BigEndian.PutUint32(file[20:], uint32(h))
	return file
}

func TestRefused(t *testing.T) {
	small := asJPEG(t, quarters(16, 16))
	sof := bytes.Index(small, []byte{0xff, 0xc0})
	jpegSized := func(marker byte, w, h int) []byte {
		out := bytes.Clone(small)
		out[sof+1] = marker
		binary.BigEndian.PutUint16(out[sof+5:], uint16(h))
		binary.BigEndian.PutUint16(out[sof+7:], uint16(w))
		return out
	}
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"PNG 30000":       {hugePNG(t, 30_000, 30_000), ErrTooLarge},
		"PNG long":        {hugePNG(t, 16_385, 1), ErrTooLarge},
		"PNG 2^31":        {hugePNG(t, 1<<31, 1<<31), ErrNotImage},
		"PNG no width":    {hugePNG(t, 0, 5), ErrNotImage},
		"JPEG 65535":      {jpegSized(0xc0, 65535, 65535), ErrTooLarge},
		"JPEG 33 MP":      {jpegSized(0xc0, 6000, 6000), ErrTooLarge},
		"JPEG arithmetic": {jpegSized(0xc9, 16, 16), ErrNotImage},
		"JPEG no height":  {jpegSized(0xc0, 16, 0), ErrNotImage},
		"JPEG cut":        {small[:sof+4], ErrNotImage},
		"GIF 65535":       {[]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), ErrTooLarge},
		"WebP canvas":     {webpFile(vp8x(webpAnimation, 1<<24, 1<<24)), ErrTooLarge},
		"WebP lossless":   {webpFile(chunk("VP8L", append([]byte{0x2f, 0xff, 0xff, 0xff, 0x0f}, make([]byte, 20)...))), ErrTooLarge},
		"SVG":             {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>`), ErrNotImage},
		"EPS":             {[]byte("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"), ErrNotImage},
		"TIFF":            {[]byte("II*\x00\x08\x00\x00\x00\x00\x00\x00\x00"), ErrNotImage},
		"BMP":             {[]byte("BM" + strings.Repeat("\x00", 60)), ErrNotImage},
		"HTML":            {[]byte("<html>"), ErrNotImage},
		"nothing":         {nil, ErrNotImage},
	} {
		if info, err := Inspect(bytes.NewReader(c.file)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

// A file that is cut after its header is refused when it is decoded.
func TestBroken(t *testing.T) {
	for _, file := range [][]byte{asJPEG(t, quarters(400, 400)), asPNG(t, quarters(400, 400)), animation(t, 1, 400, 400)} {
		file = file[:len(file)/2]
		info, err := Inspect(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Make(bytes.NewReader(file), info, Spec{Width: 32, Height: 32}); !errors.Is(err, ErrNotImage) {
			t.Errorf("kind %d: %v", info.Kind, err)
		}
	}
}

// FuzzInspect: no input makes the gate or a decoder panic, and what is decoded is what
// the gate has seen.
func FuzzInspect(f *testing.F) {
	f.Add(asPNG(f, quarters(40, 20)))
	f.Add(withEXIF(asJPEG(f, quarters(40, 20)), 6, binary.LittleEndian))
	f.Add(animation(f, 3, 40, 20))
	f.Add(decode64(f, lossy))
	f.Add(decode64(f, lossless))
	f.Add(webpFile(vp8x(webpAnimation, 4, 4), chunk("ANMF", append(make([]byte, 16), decode64(f, lossless)[12:]...))))
	f.Fuzz(func(t *testing.T, file []byte) {
		info, err := Inspect(bytes.NewReader(file))
		if err != nil {
			return
		}
		if info.Width > maxSide || info.Height > maxSide || info.Width*info.Height > maxPixels || info.Memory > MaxMemory {
			t.Fatalf("passed: %+v", info)
		}
		if info.Width*info.Height > 1<<20 {
			return // slow
		}
		for _, s := range []Spec{{Width: 32, Height: 32, Crop: true}, {Width: 32, Height: 24, Animated: true}} {
			out, _, err := Make(bytes.NewReader(file), info, s)
			if err != nil {
				continue
			}
			made, err := Inspect(bytes.NewReader(out))
			if err != nil || made.Width > s.Width || made.Height > s.Height {
				t.Fatalf("%+v became %+v, %v", info, made, err)
			}
		}
	})
}

func BenchmarkMake(b *testing.B) {
	for name, file := range map[string][]byte{"jpeg-12MP": asJPEG(b, quarters(4000, 3000)), "png-12MP": asPNG(b, quarters(4000, 3000))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			info, err := Inspect(bytes.NewReader(file))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := Make(bytes.NewReader(file), info, Spec{Width: 800, Height: 600}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
