package media

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/storage"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Bounds of timeout_ms.
const (
	defaultWait = 20_000
	maxWait     = 60_000
)

// securityPolicy is what the spec recommends ("Content repository").
const securityPolicy = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; " +
	"style-src 'unsafe-inline'; object-src 'self';"

// download is GET /download/{serverName}/{mediaId} and …/{fileName}.
func (s *Server) download(r *matrixhttp.Request) (any, error) {
	item, err := s.item(r, r.Query())
	if err != nil {
		return nil, err
	}
	name := item.FileName
	if asked := r.Param("fileName"); asked != "" {
		name = asked
	}
	kind, shown := inline(item.ContentType)
	return s.serve(file{blob.Hash(item.SHA256), kind, disposition(shown, name), item.Created}), nil
}

// item returns what a request names, with content: it waits for an upload, or fetches
// from another server.
func (s *Server) item(r *matrixhttp.Request, q *matrixhttp.Query) (*storage.Item, error) {
	wait := time.Duration(q.Int("timeout_ms", defaultWait, 0, maxWait)) * time.Millisecond
	remote := !q.Has("allow_remote") || q.Bool("allow_remote")
	if err := q.Err(); err != nil {
		return nil, err
	}
	x, err := target(r)
	if err != nil {
		return nil, err
	}
	if s.options.Policy.MayStore(x.Origin, nil) != nil {
		return nil, notFound()
	}
	item, err := s.db.Get(r.Context(), x, s.now().UnixMilli())
	switch {
	case x.Origin != s.options.ServerName && errors.Is(err, notFound()) && remote:
		item, err = s.fetch(r.Context(), x, wait)
	case err == nil && item.SHA256 == nil:
		item, err = s.await(r.Context(), x, wait)
	}
	if err != nil {
		return nil, err
	}
	if item.Quarantined || s.options.Policy.MayStore(x.Origin, item.SHA256) != nil {
		return nil, notFound()
	}
	return item, nil
}

// await waits until the content of a URI is uploaded.
func (s *Server) await(ctx context.Context, x storage.MXC, wait time.Duration) (*storage.Item, error) {
	late := merr.New(http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED", "The content has not been uploaded yet")
	late.Temporary = true
	if wait == 0 {
		return nil, late
	}
	ready, leave, ok := s.waiting.join(x)
	if !ok {
		return nil, late
	}
	defer leave()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		// After joining: an upload that ended before has woken nobody.
		item, err := s.db.Get(ctx, x, s.now().UnixMilli())
		if err != nil || item.SHA256 != nil {
			return item, err
		}
		select {
		case <-ready:
		case <-timer.C:
			return nil, late
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.stopping.Done():
			return nil, merr.Unavailable("The server is stopping")
		}
	}
}

// file is content on its way to a client.
type file struct {
	hash        blob.Hash
	contentType string
	disposition string
	modified    int64 // milliseconds
}

// serve sends a file, a range of it, or nothing if the client has it.
func (s *Server) serve(f file) matrixhttp.Serve {
	return func(w http.ResponseWriter, r *http.Request) error {
		content, err := s.files.Open(f.hash)
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return merr.NotFound("Media not found").WithCause(err)
		}
		if err != nil {
			return err
		}
		defer content.Close()
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		h.Set("Content-Disposition", f.disposition)
		h.Set("Content-Security-Policy", securityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		// Content never changes, but it can be removed, and only users may see it.
		h.Set("Cache-Control", "private, max-age=86400, immutable")
		h.Set("ETag", `"`+hex.EncodeToString(f.hash[:16])+`"`)
		http.ServeContent(w, r, "", time.UnixMilli(f.modified), content)
		return nil
	}
}
