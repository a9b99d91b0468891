package media

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"hearth/internal/safedial"
)

func TestPreview(t *testing.T) {
	picture := asPNG(t, 50, 40)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bomb.png":
			w.Write(hugePNG(30_000, 30_000))
		case "/picture.png":
			w.Write(picture)
		default:
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<title>Page</title><meta property="og:image" content="%s.png">`, r.URL.Path)
		}
	}))
	defer web.Close()
	allow, err := safedial.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := safedial.New(nil, allow)
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(d *Deps) { d.Previews = dialer }, func(t *testing.T, s *server) {
		ask := func(prefix, page string) answer {
			return s.get(prefix + "/preview_url?ts=1510610716656&url=" + url.QueryEscape(page))
		}
		var found struct {
			Title string `json:"og:title"`
			Image string `json:"og:image"`
			Type  string `json:"og:image:type"`
			W     int    `json:"og:image:width"`
			H     int    `json:"og:image:height"`
			Size  int    `json:"matrix:image:size"`
		}
		for _, prefix := range []string{"/_matrix/client/v1/media", "/_matrix/media/v3", "/_matrix/media/r0"} {
			a := s.must(ask(prefix, web.URL+"/picture"), 200, "")
			if err := json.Unmarshal(a.body, &found); err != nil {
				t.Fatal(err)
			}
		}
		if found.Title != "Page" || found.Type != "image/png" || found.W != 50 || found.H != 40 || found.Size != len(picture) {
			t.Errorf("%+v", found)
		}
		image := strings.TrimPrefix(found.Image, "mxc://")
		if a := s.must(s.get(downloadPath+image), 200, ""); string(a.body) != string(picture) || a.header.Get("Content-Type") != "image/png" {
			t.Errorf("%d bytes, %v", len(a.body), a.header)
		}
		if a := s.must(ask("/_matrix/client/v1/media", web.URL+"/bomb"), 200, ""); string(a.body) != `{"og:title":"Page"}` {
			t.Errorf("%s", a.body)
		}
		s.must(ask("/_matrix/client/v1/media", "http://[::1]:8008/"), 502, "M_UNKNOWN")
		s.must(ask("/_matrix/client/v1/media", "file:///etc/passwd"), 400, "M_INVALID_PARAM")
		s.must(s.get("/_matrix/client/v1/media/preview_url"), 400, "M_MISSING_PARAM")
		s.must(s.get("/_matrix/client/v1/media/preview_url?url=x&ts=y"), 400, "M_INVALID_PARAM")
		s.mustHave(1)
		s.now.add(previewLifetime)
		if err := s.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mustHave(0)
		if len(s.viewing.users) != 0 {
			t.Errorf("%v", s.viewing.users)
		}
	})
}
