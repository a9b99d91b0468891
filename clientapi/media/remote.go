package media

import (
	"context"
	"io"
	"net/http"
	"time"

	"hearth/clientapi/media/storage"
	"hearth/internal/merr"
)

// Remote fetches files of other servers.
type Remote interface {
	// Download begins to fetch a file; wait is how long the other server may wait for
	// its upload. Both arguments are valid parts of an mxc:// URI. Errors are those
	// that a client may see: *merr.Error, M_NOT_FOUND if the file is not there.
	Download(ctx context.Context, serverName, mediaID string, wait time.Duration) (*RemoteFile, error)
}

// RemoteFile is what another server sends. Nothing in it has been checked.
type RemoteFile struct {
	Body                  io.ReadCloser
	Size                  int64 // announced; -1: not
	ContentType, FileName string
}

const (
	// remoteLifetime is how long a copy is kept.
	remoteLifetime = 30 * 24 * time.Hour
	fetchTimeout   = 10 * time.Minute
)

// fetch copies a file of another server. Those who ask for the same one share it, and
// it goes on when they leave.
func (s *Server) fetch(ctx context.Context, x storage.MXC, wait time.Duration) (*storage.Item, error) {
	if s.options.Remote == nil {
		return nil, notFound()
	}
	done := s.fetching.DoChan(x.String(), func() (any, error) {
		select {
		case s.fetches <- struct{}{}:
			defer func() { <-s.fetches }()
		default:
			return nil, merr.Busy(time.Second)
		}
		ctx, cancel := context.WithTimeout(s.stopping, fetchTimeout)
		defer cancel()
		return s.copyOf(ctx, x, wait)
	})
	select {
	case r := <-done:
		item, _ := r.Val.(*storage.Item)
		return item, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Server) copyOf(ctx context.Context, x storage.MXC, wait time.Duration) (*storage.Item, error) {
	// Another fetch may have ended between the look and this one.
	if item, err := s.db.Get(ctx, x, s.now().UnixMilli()); err == nil {
		return item, nil
	}
	remote, err := s.options.Remote.Download(ctx, x.Origin, x.ID, wait)
	if err != nil {
		return nil, err
	}
	defer remote.Body.Close()
	return s.keep(ctx, remote.Body, remote.Size, s.options.MaxUpload, &storage.Item{
		MXC: x, ContentType: cleanType(remote.ContentType), FileName: cleanName(remote.FileName),
		Expires: s.now().Add(remoteLifetime).UnixMilli(),
	})
}

// keep stores a copy of what another server sends, of at most limit bytes, until it
// expires.
func (s *Server) keep(ctx context.Context, src io.Reader, size, limit int64, item *storage.Item) (*storage.Item, error) {
	tooLarge := merr.New(http.StatusBadGateway, "M_TOO_LARGE", "The other server's file is too large")
	if size > limit {
		return nil, tooLarge
	}
	draft, err := s.draft(io.LimitReader(src, limit+1), size)
	if err != nil {
		if merr.From(err).Temporary {
			return nil, err
		}
		return nil, merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server's file could not be fetched").WithCause(err)
	}
	defer draft.Close()
	switch {
	case draft.Size > limit:
		return nil, tooLarge
	case size >= 0 && draft.Size != size:
		return nil, merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server's file is not whole")
	}
	if err := s.options.Policy.MayStore(item.Origin, draft.Hash[:]); err != nil {
		return nil, err
	}
	item.SHA256, item.Size, item.Created = draft.Hash[:], draft.Size, s.now().UnixMilli()
	err = s.commit(draft, func() error {
		if err := s.db.Add(ctx, item, storage.Quota{}); err != nil {
			return err
		}
		// The row knows whether such content is in quarantine.
		stored, err := s.db.Get(ctx, item.MXC, item.Created)
		if err == nil {
			*item = *stored
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.makeRoom()
	return item, nil
}

// makeRoom lets Run remove what is too much.
func (s *Server) makeRoom() {
	select {
	case s.expired <- struct{}{}:
	default: // it has been told already
	}
}
