package federationapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
)

// fetch downloads a file of the peer's.
func (d *distant) fetch(req remoteapi.MediaRequest) (h remoteapi.MediaHeader, file []byte, err error) {
	req.ServerName = d.peer.Name
	if req.MaxBytes == 0 {
		req.MaxBytes = 1 << 20
	}
	err = remoteapi.ReadMedia(context.Background(), d.server.deps.Bus, &req, func(got *remoteapi.MediaHeader) error {
		h = *got
		return nil
	}, func(chunk []byte) error {
		file = append(file, chunk...)
		return nil
	})
	return h, file, err
}

// parts scripts a multipart answer.
func parts(first, head, file string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
		_, _ = io.WriteString(w, "--b\r\nContent-Type: application/json\r\n\r\n"+first+"\r\n--b\r\n"+head+"\r\n\r\n"+file+"\r\n--b--\r\n")
	}
}

func TestRemoteMedia(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/media/download/abc"
	body := strings.Repeat("\x00\r\n--x", 100_000)
	d.peer.Handle(at, parts(`{}`, "Content-Type: image/png\r\nContent-Disposition: inline; filename=\"../a/b.png\"", body))
	h, file, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc", TimeoutMS: 5000})
	if err != nil || string(file) != body || h != (remoteapi.MediaHeader{ContentType: "image/png", FileName: "b.png", Size: -1}) {
		t.Errorf("%+v, %d bytes, %v", h, len(file), err)
	}
	if last := d.peer.LastTo(at); !strings.HasSuffix(last.URI, "?timeout_ms=5000") || last.Header.Get("Authorization") == "" {
		t.Errorf("%+v", last)
	}
	d.peer.Handle("/_matrix/federation/v1/media/thumbnail/abc", parts(`{}`, "Content-Length: 3\r\nContent-Type: \r\nContent-Disposition: attachment; filename=..", "abc"))
	h, file, err = d.fetch(remoteapi.MediaRequest{MediaID: "abc", Width: 32, Height: 16, Method: "crop", Animated: true})
	if err != nil || string(file) != "abc" || h != (remoteapi.MediaHeader{ContentType: "application/octet-stream", Size: 3}) {
		t.Errorf("%+v, %q, %v", h, file, err)
	}
	if uri := d.peer.LastTo("/_matrix/federation/v1/media/thumbnail/abc").URI; !strings.HasSuffix(uri, "?animated=true&height=16&method=crop&timeout_ms=0&width=32") {
		t.Error(uri)
	}
}

func TestRemoteMediaElsewhere(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/media/download/abc"
	d.peer.Handle("/cdn/file", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "elsewhere")
	})
	d.peer.Handle("/cdn", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/cdn/file", http.StatusFound) })
	d.peer.Handle(at, parts(`{}`, "Location: https://"+d.peer.Name+"/cdn", ""))
	h, file, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc"})
	if err != nil || string(file) != "elsewhere" || h.ContentType != "text/plain" || h.Size != 9 {
		t.Errorf("%+v, %q, %v", h, file, err)
	}
	if d.peer.LastTo("/cdn").Header.Get("Authorization") != "" {
		t.Error("the request to an address that the server named is signed")
	}
	d.peer.Handle("/cdn/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/cdn/loop", http.StatusFound) })
	d.peer.Handle("/cdn/plain", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+d.peer.Name+"/", http.StatusFound)
	})
	d.peer.Answer("/cdn/error", 500, `{}`)
	for _, location := range []string{
		"https://" + d.peer.Name + "/cdn/loop", "https://" + d.peer.Name + "/cdn/plain", "https://" + d.peer.Name + "/cdn/error",
		"http://" + d.peer.Name + "/cdn/file", "file:///etc/passwd", "https://u:p@" + d.peer.Name + "/cdn/file", "/cdn/file", "https://10.1.2.3/", "https://[::1]/",
	} {
		d.peer.Handle(at, parts(`{}`, "Location: "+location, ""))
		if _, _, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc"}); err == nil || merr.From(err).Status != 502 {
			t.Errorf("%s: %v", location, err)
		}
	}
	if d.server.health.Wait(d.peer.Name) != 0 {
		t.Error("the server is blamed for what is elsewhere")
	}
}

func TestRemoteMediaInTheOldWay(t *testing.T) {
	d := newDistant(t, "10")
	at := "/_matrix/media/v3/download/" + d.peer.Name + "/abc"
	d.peer.Handle(at, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/gif")
		w.Header().Set("Content-Disposition", `attachment; filename="x.gif"`)
		_, _ = io.WriteString(w, "gif")
	})
	h, file, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc"})
	if err != nil || string(file) != "gif" || h != (remoteapi.MediaHeader{ContentType: "image/gif", FileName: "x.gif", Size: 3}) {
		t.Errorf("%+v, %q, %v", h, file, err)
	}
	if last := d.peer.LastTo(at); last.Header.Get("Authorization") != "" || !strings.Contains(last.URI, "allow_remote=false") {
		t.Errorf("%+v", last)
	}
	d.peer.Answer("/_matrix/federation/v1/media/download/gone", 404, `{"errcode":"M_NOT_FOUND"}`)
	if _, _, err := d.fetch(remoteapi.MediaRequest{MediaID: "gone"}); !errors.Is(err, merr.NotFound("")) {
		t.Error(err)
	}
	if d.peer.Requests("/_matrix/media/v3/download/"+d.peer.Name+"/gone") != 0 {
		t.Error("a file that is not there is asked for in the old way too")
	}
	d.peer.Answer("/_matrix/federation/v1/media/download/late", 504, `{"errcode":"M_NOT_YET_UPLOADED"}`)
	if _, _, err := d.fetch(remoteapi.MediaRequest{MediaID: "late"}); !errors.Is(err, merr.New(504, "M_NOT_YET_UPLOADED", "")) {
		t.Error(err)
	}
}

func TestRemoteMediaThatIsNotRight(t *testing.T) {
	d := newDistant(t, "10")
	const at = "/_matrix/federation/v1/media/download/abc"
	send := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"no multipart": send("image/png", "png"), "no boundary": send("multipart/mixed", "--b\r\n"), "nothing": send("multipart/mixed; boundary=b", ""),
		"one part": send("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b--\r\n"), "the first part is no JSON": parts(`<html>`, "X: y", "abc"),
		"a coding": parts(`{}`, "Content-Transfer-Encoding: base64", "abc"), "cut off": send("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n\r\nabc"),
		"another length": parts(`{}`, "Content-Length: 7", "abc"), "another content type": send("text/html; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n\r\nabc\r\n--b--\r\n"),
		"endless headers": send("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n"+strings.Repeat("X: y\r\n", 200_000)),
		"dropped":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		d.peer.Handle(at, h)
		d.server.health.Retry(d.peer.Name)
		if _, _, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc"}); err == nil || merr.From(err).Status != 502 {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.server.health.Retry(d.peer.Name)
	for _, head := range []string{"Content-Length: 2000000", "X: y"} {
		d.peer.Handle(at, parts(`{}`, head, string(bytes.Repeat([]byte("x"), 2_000_000))))
		_, file, err := d.fetch(remoteapi.MediaRequest{MediaID: "abc", MaxBytes: 1_000_000})
		if err == nil || merr.From(err).Status != 502 || len(file) > 1_000_000 {
			t.Errorf("%s: %d bytes, %v", head, len(file), err)
		}
	}
	for _, req := range []remoteapi.MediaRequest{
		{ServerName: "example.org", MediaID: "a", MaxBytes: 1}, {ServerName: d.peer.Name, MaxBytes: 1}, {ServerName: d.peer.Name, MediaID: "a"}, {ServerName: "not a name", MediaID: "a", MaxBytes: 1},
	} {
		if err := remoteapi.ReadMedia(context.Background(), d.server.deps.Bus, &req, nil, nil); err == nil {
			t.Errorf("%+v was fetched", req)
		}
	}
	d.peer.Handle("/_matrix/federation/v1/media/download/a%2Fb", parts(`{}`, "X: y", "abc"))
	if _, _, err := d.fetch(remoteapi.MediaRequest{MediaID: "a/../b"}); err == nil {
		t.Error("an id with a slash leads somewhere else")
	}
	if uri := d.peer.Last().URI; !strings.Contains(uri, fmt.Sprintf("/a%%2F..%%2Fb")) {
		t.Error(uri)
	}
}
