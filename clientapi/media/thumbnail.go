package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/storage"
	"hearth/clientapi/media/thumb"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// makeTimeout bounds the wait for one thumbnail, and its making.
const makeTimeout = 60 * time.Second

// thumbnail is GET /thumbnail/{serverName}/{mediaId}.
func (s *Server) thumbnail(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	for _, name := range []string{"width", "height"} {
		if q.Err() == nil && q.String(name) == "" {
			return nil, merr.MissingParam(name)
		}
	}
	const most = 1 << 20 // more is the same
	width, height := int(q.Int("width", 0, 1, most)), int(q.Int("height", 0, 1, most))
	crop := q.Enum("method", "scale", "scale", "crop") == "crop"
	animated := q.Bool("animated")
	item, err := s.item(r, q)
	if err != nil {
		return nil, err
	}
	f, err := s.small(r.Context(), item, thumb.Round(width, height, crop, animated))
	if err != nil {
		return nil, s.thumbnailError(err, item)
	}
	return s.serve(f), nil
}

// thumbnailError is what clients see.
func (s *Server) thumbnailError(err error, item *storage.Item) error {
	switch {
	case errors.Is(err, thumb.ErrNotImage):
		return merr.New(http.StatusBadRequest, "M_UNKNOWN", "Cannot generate thumbnails for the requested content").WithCause(err)
	case errors.Is(err, thumb.ErrTooLarge):
		e := merr.TooLarge("Content is too large to thumbnail")
		if item.Origin != s.options.ServerName {
			e.Status = http.StatusBadGateway
		}
		return e.WithCause(err)
	case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		return merr.NotFound("Media not found").WithCause(err)
	}
	return err
}

// small returns the image of an item as a file that is as small as the spec says.
func (s *Server) small(ctx context.Context, item *storage.Item, spec thumb.Spec) (file, error) {
	source := blob.Hash(item.SHA256)
	content, err := s.files.Open(source)
	if err != nil {
		return file{}, err
	}
	defer content.Close()
	info, err := thumb.Inspect(content)
	if err != nil {
		return file{}, err
	}
	if info.Original(spec) {
		return picture(source, info.Kind.ContentType(), item.Created), nil
	}
	spec.Animated = info.Moving(spec)
	if t, err := s.made(ctx, item.SHA256, spec); t != nil || err != nil {
		return s.result(t, item, err)
	}
	key := source.String() + spec.String()
	if err, known := s.broken.Get(key); known {
		return file{}, err
	}
	// Whoever asks first makes it for all, and goes on if that client leaves.
	done := s.making.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(s.stopping, makeTimeout)
		defer cancel()
		t, err := s.make(ctx, item, info, spec)
		if errors.Is(err, thumb.ErrNotImage) || errors.Is(err, thumb.ErrTooLarge) {
			s.broken.Put(key, err)
		}
		return t, err
	})
	select {
	case r := <-done:
		t, _ := r.Val.(*storage.Thumbnail)
		return s.result(t, item, r.Err)
	case <-ctx.Done():
		return file{}, ctx.Err()
	}
}

// made returns the thumbnail that is there, nil if none is.
func (s *Server) made(ctx context.Context, source []byte, spec thumb.Spec) (*storage.Thumbnail, error) {
	t, err := s.db.Thumbnail(ctx, source, spec.String())
	if t == nil || err != nil {
		return nil, err
	}
	f, err := s.files.Open(blob.Hash(t.SHA256))
	if errors.Is(err, fs.ErrNotExist) { // it can be made again
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t, f.Close()
}

func (s *Server) result(t *storage.Thumbnail, item *storage.Item, err error) (file, error) {
	if err != nil {
		return file{}, err
	}
	return picture(blob.Hash(t.SHA256), t.ContentType, item.Created), nil
}

func picture(hash blob.Hash, contentType string, modified int64) file {
	_, format, _ := strings.Cut(contentType, "/")
	return file{hash, contentType, disposition(true, "thumbnail."+format), modified}
}

// make decodes, shrinks and stores.
func (s *Server) make(ctx context.Context, item *storage.Item, info thumb.Info, spec thumb.Spec) (*storage.Thumbnail, error) {
	content, err := s.files.Open(blob.Hash(item.SHA256))
	if err != nil {
		return nil, err
	}
	defer content.Close()
	out, contentType, err := s.decode(ctx, content, info, spec)
	if err != nil {
		return nil, err
	}
	draft, err := s.draft(bytes.NewReader(out), int64(len(out)))
	if err != nil {
		return nil, err
	}
	defer draft.Close()
	t := &storage.Thumbnail{Source: item.SHA256, Variant: spec.String(), SHA256: draft.Hash[:], ContentType: contentType}
	return t, s.commit(draft, func() error { return s.db.AddThumbnail(ctx, t) })
}

// decode waits for memory.
func (s *Server) decode(ctx context.Context, content *os.File, info thumb.Info, spec thumb.Spec) ([]byte, string, error) {
	select {
	case s.decoding <- struct{}{}:
		defer func() { <-s.decoding }()
	default:
		return nil, "", merr.Busy(time.Second)
	}
	weight := min(max(info.Weight(spec), leastDecode), decodeMemory)
	if err := s.memory.Acquire(ctx, weight); err != nil {
		return nil, "", merr.Busy(time.Second).WithCause(err)
	}
	defer s.memory.Release(weight)
	return thumb.Make(io.NewSectionReader(content, 0, 1<<62), info, spec)
}
