package media

import (
	"context"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/storage"
)

// MXC is an mxc:// URI.
type MXC = storage.MXC

// Item is what an mxc:// URI names.
type Item = storage.Item

// Get returns what a URI names, in quarantine or not; 404 M_NOT_FOUND if nothing.
func (s *Server) Get(ctx context.Context, x MXC) (*Item, error) {
	return s.db.Get(ctx, x, s.now().UnixMilli())
}

// ByUser lists what a local user has uploaded, or wants to (SHA256 is nil), oldest
// first, at most limit items after the item that an earlier call ended with; nil:
// from the start.
func (s *Server) ByUser(ctx context.Context, userID string, after *Item, limit int) ([]*Item, error) {
	return s.db.ByUser(ctx, userID, after, limit)
}

// Usage returns the number of files that a local user has uploaded and still has, and
// their sizes together in bytes.
func (s *Server) Usage(ctx context.Context, userID string) (files, bytes int64, err error) {
	return s.db.Usage(ctx, userID)
}

// Delete removes what a URI names, and the file with its thumbnails if no other URI
// has the same content. The error is 404 M_NOT_FOUND if it names nothing.
func (s *Server) Delete(ctx context.Context, x MXC) error {
	files, err := s.db.Delete(ctx, x)
	if err != nil {
		return err
	}
	s.discard(files)
	return nil
}

// Quarantine hides what a URI names from everybody, with all other URIs of the same
// content and those that come later, or shows it again. The error is 404 M_NOT_FOUND
// if it names nothing.
func (s *Server) Quarantine(ctx context.Context, x MXC, on bool) error {
	return s.db.Quarantine(ctx, x, on)
}

// Sweep removes the files that no row needs, which only a crash or a failing disk
// leaves. It returns how many there were.
func (s *Server) Sweep(ctx context.Context) (removed int, err error) {
	err = s.files.Each(ctx, func(some []blob.Hash) error {
		names := make([][]byte, len(some))
		for i := range some {
			names[i] = some[i][:]
		}
		unneeded, err := s.db.Unneeded(ctx, names)
		if err != nil {
			return err
		}
		n, err := s.remove(ctx, unneeded)
		removed += n
		return err
	})
	return removed, err
}

// expire removes what has expired, and copies beyond their space.
func (s *Server) expire(ctx context.Context) error {
	for {
		n, files, err := s.db.Expire(ctx, s.now().UnixMilli(), s.options.CacheBytes, expireAtOnce)
		if err != nil {
			return err
		}
		if _, err := s.remove(ctx, files); err != nil {
			return err
		}
		if n < expireAtOnce {
			return nil
		}
	}
}

// discard removes files if nobody needs them. What fails is left to Sweep.
func (s *Server) discard(files [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), backgroundBudget)
	defer cancel()
	s.background(ctx, "remove a file", func() error { _, err := s.remove(ctx, files); return err })
}

// remove removes those of the files that nobody needs.
func (s *Server) remove(ctx context.Context, files [][]byte) (n int, err error) {
	for _, f := range files {
		removed, err := s.removeOne(ctx, blob.Hash(f))
		if err != nil {
			return n, err
		}
		if removed {
			n++
		}
	}
	return n, nil
}

func (s *Server) removeOne(ctx context.Context, h blob.Hash) (bool, error) {
	defer s.files.Lock(h)() // nobody begins to need it meanwhile
	needed, err := s.db.Needed(ctx, h[:])
	if err != nil || needed {
		return false, err
	}
	return true, s.files.Remove(h)
}
