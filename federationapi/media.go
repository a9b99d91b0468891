package federationapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Bounds of requests for media.
const (
	maxPixels   = 1 << 20 // more is the same
	defaultWait = 20_000  // milliseconds
	maxWait     = 60_000
)

// download is GET /_matrix/federation/v1/media/download/{mediaId} ("Content Repository").
func (s *Server) download(r *matrixhttp.Request) (any, error) {
	return s.file(r, r.Query(), &userapi.LocalMediaRequest{})
}

// thumbnail is GET /_matrix/federation/v1/media/thumbnail/{mediaId}.
func (s *Server) thumbnail(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	for _, name := range []string{"width", "height"} {
		if q.Err() == nil && q.String(name) == "" {
			return nil, merr.MissingParam(name)
		}
	}
	return s.file(r, q, &userapi.LocalMediaRequest{
		Width: int(q.Int("width", 0, 1, maxPixels)), Height: int(q.Int("height", 0, 1, maxPixels)),
		Crop: q.Enum("method", "scale", "scale", "crop") == "crop", Animated: q.Bool("animated"),
	})
}

// file answers with two parts: an empty object, and the file.
func (s *Server) file(r *matrixhttp.Request, q *matrixhttp.Query, req *userapi.LocalMediaRequest) (any, error) {
	req.MediaID, req.WaitMS = r.Param("mediaId"), q.Int("timeout_ms", defaultWait, 0, maxWait)
	if err := q.Err(); err != nil {
		return nil, err
	}
	ctx := r.Context()
	return matrixhttp.Serve(func(w http.ResponseWriter, _ *http.Request) error {
		boundary := rand.Text()
		begun := false
		err := userapi.ReadLocalMedia(ctx, s.deps.Bus, req, func(h *userapi.LocalMediaHeader) error {
			begun = true
			return writeHead(w, boundary, h)
		}, func(chunk []byte) error {
			_, err := w.Write(chunk)
			return err
		})
		if err != nil {
			return err
		}
		if !begun {
			return merr.Internal(errors.New("a file without a head"))
		}
		_, err = fmt.Fprintf(w, "\r\n--%s--\r\n", boundary)
		return err
	}), nil
}

// writeHead writes all that stands before the bytes of the file.
func writeHead(w http.ResponseWriter, boundary string, h *userapi.LocalMediaHeader) error {
	w.Header().Set("Content-Type", "multipart/mixed; boundary="+boundary)
	kind := h.ContentType
	if kind == "" {
		kind = "application/octet-stream"
	}
	_, err := fmt.Fprintf(w, "--%s\r\nContent-Type: application/json\r\n\r\n{}\r\n--%s\r\nContent-Type: %s\r\nContent-Disposition: %s\r\n\r\n",
		boundary, boundary, oneLine(kind), oneLine(h.Disposition))
	return err
}

// oneLine keeps a header from becoming two.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
}
