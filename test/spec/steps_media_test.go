package spec

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"strings"
)

// mediaSteps put an image into the content repository and take it out again.
var mediaSteps = []step{
	{"upload", func(w *world) {
		v := w.do(w.alice, "uploadContent", request{raw: picture(w), kind: "image/png", query: url.Values{"filename": {"square.png"}}})
		w.image = strings.TrimPrefix(v.text("content_uri"), "mxc://localhost/")
		v = w.do(w.alice, "createContent", request{})
		later := strings.TrimPrefix(v.text("content_uri"), "mxc://localhost/")
		w.do(w.alice, "uploadContentToMXC", request{path: in("serverName", "localhost", "mediaId", later), raw: picture(w), kind: "image/png"})
		w.do(w.alice, "getConfigAuthed", request{})
		w.do(w.alice, "getConfig", request{})
	}},
	{"download", func(w *world) {
		here := in("serverName", "localhost", "mediaId", w.image, "fileName", "other.png")
		w.is(w.do(w.bob, "getContentAuthed", request{path: here}), "image/png", "square.png")
		w.is(w.do(w.bob, "getContentOverrideNameAuthed", request{path: here}), "image/png", "other.png")
		w.is(w.do(w.bob, "getContentThumbnailAuthed", request{path: here, query: url.Values{"width": {"32"}, "height": {"32"}, "method": {"scale"}}}), "image/", "")
		// What was uploaded since media asks for a token is not found without one.
		w.refused(nil, "getContent", request{path: here}, http.StatusNotFound, "M_NOT_FOUND")
		w.refused(nil, "getContentOverrideName", request{path: here}, http.StatusNotFound, "M_NOT_FOUND")
		w.refused(nil, "getContentThumbnail", request{path: here, query: url.Values{"width": {"32"}, "height": {"32"}}}, http.StatusNotFound, "M_NOT_FOUND")
	}},
	{"previews of links", func(w *world) {
		page := url.Values{"url": {w.page}}
		w.must(w.do(w.alice, "getUrlPreviewAuthed", request{query: page}), "A page", "og:title")
		w.must(w.do(w.alice, "getUrlPreview", request{query: page}), "A page", "og:title")
	}},
	{"image message and avatar", func(w *world) {
		uri := "mxc://localhost/" + w.image
		if w.image == "" {
			return
		}
		w.say(w.alice, "image", object{"msgtype": "m.image", "body": "square.png", "url": uri, "info": object{"mimetype": "image/png", "w": 64, "h": 64}})
		w.do(w.alice, "setProfileField", request{path: in("userId", w.alice.id, "keyName", "avatar_url"), body: object{"avatar_url": uri}})
		w.must(w.do(w.bob, "getUserProfile", request{path: in("userId", w.alice.id)}), uri, "avatar_url")
	}},
}

// is tells whether media has a type and a name.
func (w *world) is(v value, kind, name string) {
	w.Helper()
	if v.answer.status == 0 {
		return
	}
	h := v.answer.header
	if !strings.HasPrefix(h.Get("Content-Type"), kind) || !strings.Contains(h.Get("Content-Disposition"), name) {
		w.Errorf("Content-Type %q, Content-Disposition %q", h.Get("Content-Type"), h.Get("Content-Disposition"))
	}
}

// picture returns a PNG of 64 × 64 pixels.
func picture(w *world) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for x := range 64 {
		for y := range 64 {
			img.Set(x, y, color.RGBA{uint8(4 * x), uint8(4 * y), 128, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
}
