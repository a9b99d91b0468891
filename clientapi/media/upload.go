package media

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"strings"
	"syscall"
	"time"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/storage"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// upload is POST /upload.
func (s *Server) upload(r *matrixhttp.Request) (any, error) {
	item := &storage.Item{MXC: s.newMXC()}
	if err := s.receive(r, item, s.db.Add); err != nil {
		return nil, err
	}
	return map[string]string{"content_uri": item.String()}, nil
}

// create is POST /create.
func (s *Server) create(r *matrixhttp.Request) (any, error) {
	if _, err := r.Bytes(); err != nil { // clients send {} or nothing
		return nil, err
	}
	now := s.now()
	item := &storage.Item{
		MXC: s.newMXC(), UserID: r.Identity.UserID, Created: now.UnixMilli(), Expires: now.Add(pendingLifetime).UnixMilli(),
	}
	if err := s.db.Create(r.Context(), item, pendingPerUser); err != nil {
		return nil, err
	}
	return map[string]any{"content_uri": item.String(), "unused_expires_at": item.Expires}, nil
}

// uploadTo is PUT /upload/{serverName}/{mediaId}.
func (s *Server) uploadTo(r *matrixhttp.Request) (any, error) {
	x, err := target(r)
	if err != nil {
		return nil, err
	}
	if err := s.db.Awaited(r.Context(), x, r.Identity.UserID, s.now().UnixMilli()); err != nil {
		return nil, err
	}
	if err := s.receive(r, &storage.Item{MXC: x}, s.db.Fill); err != nil {
		return nil, err
	}
	s.waiting.wake(x)
	return nil, nil
}

// receive takes the body of a request in and writes its row with write.
func (s *Server) receive(r *matrixhttp.Request, item *storage.Item, write func(context.Context, *storage.Item, storage.Quota) error) error {
	q := r.Query()
	item.FileName = cleanName(q.String("filename"))
	item.ContentType = cleanType(r.HTTP.Header.Get("Content-Type"))
	item.UserID = r.Identity.UserID
	if err := q.Err(); err != nil {
		return err
	}
	if err := s.options.Policy.MayUpload(r.Context(), item.UserID); err != nil {
		return err
	}
	src, err := r.Stream()
	if err != nil {
		return err
	}
	leave, err := s.uploads.enter(item.UserID)
	if err != nil {
		return err
	}
	defer leave()
	quota := storage.Quota{Files: s.options.UserFiles, Bytes: s.options.UserBytes}
	files, bytes, err := s.db.Usage(r.Context(), item.UserID)
	if err != nil {
		return err
	}
	if err := quota.Check(files+1, bytes+max(0, r.HTTP.ContentLength)); err != nil { // before gigabytes are read for nothing
		return err
	}
	draft, err := s.draft(src, r.HTTP.ContentLength)
	if err != nil {
		return err
	}
	defer draft.Close()
	if err := s.options.Policy.MayStore(s.options.ServerName, draft.Hash[:]); err != nil {
		return err
	}
	item.SHA256, item.Size, item.Created = draft.Hash[:], draft.Size, s.now().UnixMilli()
	return s.commit(draft, func() error { return write(r.Context(), item, quota) })
}

// draft writes content to disk, but not in place.
func (s *Server) draft(src io.Reader, size int64) (*blob.Draft, error) {
	if err := s.space.check(max(0, size)); err != nil {
		return nil, err
	}
	draft, err := s.files.Write(s.space.watch(src), size)
	var known *merr.Error
	switch {
	case err == nil, errors.As(err, &known):
		return draft, err
	case errors.Is(err, blob.ErrNoSpace):
		return nil, merr.Busy(5 * time.Second).WithCause(err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return nil, noSpace(err)
	}
	return nil, err
}

// commit puts a draft in place together with the row that needs it, or neither.
func (s *Server) commit(draft *blob.Draft, write func() error) error {
	unlock := s.files.Lock(draft.Hash)
	err := draft.Place()
	if err == nil {
		err = write()
	}
	unlock()
	if err != nil {
		s.discard([][]byte{draft.Hash[:]})
	}
	return err
}

// newMXC makes a URI that nobody can guess.
func (s *Server) newMXC() storage.MXC {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return storage.MXC{Origin: s.options.ServerName, ID: base64.RawURLEncoding.EncodeToString(b[:])}
}

// defaultType is the type of what has none.
const defaultType = "application/octet-stream"

// cleanType returns a content type that can be sent in a header. It may still be
// nonsense.
func cleanType(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 255 || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return defaultType
	}
	return s
}

// inline returns the content type in normal form and whether browsers may show such
// content on the spot (client-server API, "Serving inline content").
func inline(contentType string) (string, bool) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || !inlineTypes[kind] {
		return contentType, false
	}
	return mime.FormatMediaType(kind, params), true
}

var inlineTypes = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true,
	"application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true,
	"audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}
