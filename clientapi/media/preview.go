package media

import (
	"context"
	"errors"
	"io"
	"time"

	"hearth/clientapi/media/storage"
	"hearth/clientapi/media/thumb"
	"hearth/clientapi/preview"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// previewURL is GET /preview_url. ts is only a wish: the page of now is what we have.
func (s *Server) previewURL(r *matrixhttp.Request) (any, error) {
	if s.previews == nil {
		return nil, merr.Unrecognized()
	}
	q := r.Query()
	q.Int("ts", 0, 0, 1<<62)
	page := q.String("url")
	if err := q.Err(); err != nil {
		return nil, err
	}
	if page == "" {
		return nil, merr.MissingParam("url")
	}
	leave, err := s.viewing.enter(r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	defer leave()
	body, err := s.previews.Get(r.Context(), page)
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(body), nil
}

// previewLifetime is how long the image of a preview is kept, which is longer than
// the preview is.
const previewLifetime = 24 * time.Hour

// maxPreviewImage is in bytes.
const maxPreviewImage = 10 << 20

// previewImages keeps images of pages as media that expires.
type previewImages struct{ s *Server }

// Keep implements preview.Images.
func (p previewImages) Keep(ctx context.Context, src io.Reader, size int64) (*preview.Image, error) {
	limit := min(maxPreviewImage, p.s.options.MaxUpload)
	draft, err := p.s.draft(io.LimitReader(src, limit+1), min(size, limit))
	if err != nil {
		return nil, err
	}
	defer draft.Close()
	if draft.Size > limit {
		return nil, errors.New("the image is too large")
	}
	info, err := thumb.Inspect(draft.Read())
	if err != nil {
		return nil, err
	}
	now := p.s.now()
	item := &storage.Item{
		MXC: p.s.newMXC(), SHA256: draft.Hash[:], Size: draft.Size, ContentType: info.Kind.ContentType(),
		Created: now.UnixMilli(), Expires: now.Add(previewLifetime).UnixMilli(),
	}
	if err := p.s.commit(draft, func() error { return p.s.db.Add(ctx, item, storage.Quota{}) }); err != nil {
		return nil, err
	}
	p.s.makeRoom()
	return &preview.Image{
		URI: item.String(), ContentType: item.ContentType, Width: info.Width, Height: info.Height, Size: item.Size,
	}, nil
}
