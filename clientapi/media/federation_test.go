package media

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store/storetest"
)

// onBus is a content repository that other servers can reach over a bus.
func onBus(t *testing.T, local bool) (*server, *bus.Bus) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	b, err := bus.Connect(t.Context(), bus.Options{Local: local, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	d := deps(t, storetest.Engine{})
	d.Bus, d.Remote = b, FromServers(b, d.MaxUpload)
	return start(t, d), b
}

// fetched reads a file as another server does.
func fetched(t *testing.T, b *bus.Bus, req userapi.LocalMediaRequest) (h userapi.LocalMediaHeader, content []byte, err error) {
	t.Helper()
	err = userapi.ReadLocalMedia(t.Context(), b, &req, func(got *userapi.LocalMediaHeader) error {
		h = *got
		return nil
	}, func(chunk []byte) error {
		content = append(content, chunk...)
		return nil
	})
	return h, content, err
}

func TestFilesForServers(t *testing.T) {
	for _, local := range []bool{true, false} {
		s, b := onBus(t, local)
		large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
		id := strings.TrimPrefix(s.put(string(large), "text/plain", "?filename=a.txt"), "test/")
		h, content, err := fetched(t, b, userapi.LocalMediaRequest{MediaID: id})
		if err != nil || !bytes.Equal(content, large) || h.Size != int64(len(large)) || h.ContentType != "text/plain" || h.Disposition != `inline; filename="a.txt"` {
			t.Errorf("%+v, %d bytes: %v", h, len(content), err)
		}
		empty := strings.TrimPrefix(s.put("", "image/svg+xml", ""), "test/")
		if h, content, err = fetched(t, b, userapi.LocalMediaRequest{MediaID: empty}); err != nil || len(content) != 0 || h.Disposition != "attachment" {
			t.Errorf("%+v, %d bytes: %v", h, len(content), err)
		}
		for _, bad := range []string{"", "unknown", "a/b", "../x", "\x00", strings.Repeat("a", 300)} {
			if _, _, err := fetched(t, b, userapi.LocalMediaRequest{MediaID: bad}); !errors.Is(err, merr.NotFound("")) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if _, _, err := fetched(t, b, userapi.LocalMediaRequest{MediaID: id, Width: 10, Height: 10}); merr.From(err).Status != 400 {
			t.Errorf("a thumbnail of a text: %v", err)
		}
	}
}

// TestFilesOfServers: a file of another server comes over the bus, whole or not at all.
func TestFilesOfServers(t *testing.T) {
	s, b := onBus(t, true)
	err := bus.HandleStream(b, remoteapi.Media, func(ctx context.Context, r *remoteapi.MediaRequest, send func([]byte) error) error {
		head, _ := json.Marshal(remoteapi.MediaHeader{ContentType: "text/plain", FileName: "x.txt", Size: -1})
		switch {
		case r.ServerName != "other.example":
			return merr.Unavailable("no answer")
		case r.MediaID == "gone":
			return merr.NotFound("Media not found")
		}
		if err := send(head); err != nil {
			return err
		}
		for range 5 {
			if err := send([]byte("12345")); err != nil {
				return err
			}
		}
		if r.MediaID == "cut" {
			return merr.Unavailable("cut")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	remote := FromServers(b, 0)
	file, err := remote.Download(t.Context(), "other.example", "good", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(file.Body)
	if err != nil || string(content) != strings.Repeat("12345", 5) || file.ContentType != "text/plain" || file.FileName != "x.txt" || file.Size != -1 {
		t.Errorf("%+v %q %v", file, content, err)
	}
	if err := file.Body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := remote.Download(t.Context(), "other.example", "gone", 0); !errors.Is(err, merr.NotFound("")) {
		t.Errorf("%v", err)
	}
	if _, err := remote.Download(t.Context(), "down.example", "good", 0); err == nil {
		t.Error("a server that does not answer has a file")
	}
	if file, err = remote.Download(t.Context(), "other.example", "cut", 0); err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(file.Body); err == nil {
		t.Errorf("half a file: %q", content)
	}
	if file, err = remote.Download(t.Context(), "other.example", "good", 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Body.Close(); err != nil { // whoever leaves ends the download
		t.Error(err)
	}
	if a := s.must(s.get(downloadPath+"other.example/good"), 200, ""); string(a.body) != strings.Repeat("12345", 5) {
		t.Errorf("%q", a.body)
	}
	s.must(s.get(downloadPath+"other.example/gone"), 404, "M_NOT_FOUND")
}
