package media

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"strings"
	"sync"
	"testing"

	"hearth/clientapi/media/blob"
	"hearth/internal/store/storetest"
)

func asPNG(t testing.TB, w, h int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = byte(i*i) | 1
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hugePNG(w, h int) []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
	file := b.Bytes()
	binary.BigEndian.PutUint32(file[16:], uint32(w))
	binary.BigEndian.PutUint32(file[20:], uint32(h))
	return append(file, make([]byte, 109<<10)...)
}

func twoFrames(t testing.TB, w, h int) []byte {
	t.Helper()
	g := &gif.GIF{}
	for range 2 {
		g.Image = append(g.Image, image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Black, color.White}))
		g.Delay = append(g.Delay, 1)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (s *server) mustShow(a answer, kind string, w, h int) {
	s.t.Helper()
	s.must(a, 200, "")
	config, format, err := image.DecodeConfig(bytes.NewReader(a.body))
	if err != nil || "image/"+format != kind || a.header.Get("Content-Type") != kind || config.Width != w || config.Height != h {
		s.t.Errorf("%s, %s %d × %d: %v; want %s %d × %d", a.header.Get("Content-Type"), format, config.Width, config.Height, err, kind, w, h)
	}
	if a.header.Get("Content-Disposition") != `inline; filename="thumbnail.`+format+`"` || a.header.Get("X-Content-Type-Options") != "nosniff" {
		s.t.Errorf("%v", a.header)
	}
}

func TestThumbnails(t *testing.T) {
	each(t, nil, func(t *testing.T, s *server) {
		// The name of the type is a lie; the content counts.
		uri := s.put(string(asPNG(t, 500, 400)), "text/html", "?filename=x.html")
		s.mustShow(s.get(thumbPath+uri+"?width=20&height=20&method=crop"), "image/png", 32, 32)
		s.mustShow(s.get(thumbPath+uri+"?width=20&height=32&method=crop"), "image/png", 20, 32)
		s.mustShow(s.get(thumbPath+uri+"?width=96&height=96&method=crop&animated=true"), "image/png", 96, 96)
		s.mustShow(s.get(thumbPath+uri+"?width=200&height=200"), "image/png", 300, 240)
		s.mustShow(s.get(thumbPath+uri+"?width=200&height=200&method=scale"), "image/png", 300, 240)
		s.mustShow(s.get(thumbPath+uri+"?width=2000&height=2000"), "image/png", 500, 400)
		s.mustShow(s.get(thumbPath+uri+"?width=5000000000&height=5000000000&method=crop"), "image/png", 500, 400)
		a := s.get(thumbPath + uri + "?width=200&height=200")
		if a := s.get(thumbPath+uri+"?width=200&height=200", "If-None-Match", a.header.Get("ETag")); a.status != 304 {
			t.Errorf("%d", a.status)
		}
		moving := s.put(string(twoFrames(t, 400, 300)), "image/gif", "")
		s.mustShow(s.get(thumbPath+moving+"?width=320&height=240&animated=true"), "image/gif", 320, 240)
		s.mustShow(s.get(thumbPath+moving+"?width=320&height=240&animated=false"), "image/png", 320, 240)
		s.mustShow(s.get(thumbPath+moving+"?width=800&height=600"), "image/png", 400, 300)
		s.mustShow(s.get(thumbPath+moving+"?width=800&height=600&animated=true"), "image/gif", 400, 300)

		for query, code := range map[string]string{
			"": "M_MISSING_PARAM", "?width=1": "M_MISSING_PARAM", "?height=1": "M_MISSING_PARAM", "?width=0&height=1": "M_INVALID_PARAM",
			"?width=-5&height=1": "M_INVALID_PARAM", "?width=1.5&height=1": "M_INVALID_PARAM", "?width=x&height=1": "M_INVALID_PARAM",
			"?width=1&height=1&method=stretch": "M_INVALID_PARAM", "?width=1&height=1&animated=maybe": "M_INVALID_PARAM",
		} {
			s.must(s.get(thumbPath+uri+query), 400, code)
		}
	})
}

func TestNoThumbnails(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 500, 500)), nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content string
		status  int
		code    string
	}{
		"bomb":   {string(hugePNG(30_000, 30_000)), 413, "M_TOO_LARGE"},
		"SVG":    {`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`, 400, "M_UNKNOWN"},
		"EPS":    {"%!PS-Adobe-3.0 EPSF-3.0\n", 400, "M_UNKNOWN"},
		"empty":  {"", 400, "M_UNKNOWN"},
		"broken": {photo.String()[:photo.Len()*2/3], 400, "M_UNKNOWN"},
	} {
		uri := s.put(c.content, "image/png", "")
		for range 2 {
			a := s.get(thumbPath + uri + "?width=32&height=32")
			if a.status != c.status || a.text("errcode") != c.code {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
			if a.header.Get("Content-Type") != "application/json" || a.header.Get("ETag") != "" {
				t.Errorf("%s: %v", name, a.header)
			}
		}
	}
}

// Many ask at once: it is made once, stored once, and made again if it is lost.
func TestThumbnailIsMadeOnce(t *testing.T) {
	s := start(t, deps(t, storetest.SQLite(t)))
	uri := s.put(string(asPNG(t, 400, 400)), "image/png", "")
	path := thumbPath + uri + "?width=96&height=96&method=crop"
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { s.mustShow(s.get(path), "image/png", 96, 96) })
	}
	wg.Wait()
	s.mustHave(2)
	item, err := s.Get(t.Context(), mxc(t, uri))
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.db.Thumbnail(t.Context(), item.SHA256, "96x96-crop")
	if err != nil || made == nil {
		t.Fatal(err)
	}
	f, err := s.files.Open(blob.Hash(made.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	s.mustShow(s.get(path), "image/png", 96, 96)
	s.mustHave(2)
	if n := len(s.decoding); n != 0 || !s.memory.TryAcquire(decodeMemory) {
		t.Errorf("%d at work when all is done", n)
	}
	// No memory is free and the queue is full: busy, not stuck.
	for range maxDecoding {
		s.decoding <- struct{}{}
	}
	s.must(s.get(strings.Replace(path, "96", "32", 2)), 503, "M_UNAVAILABLE")
}
