package media

import (
	"context"

	"hearth/clientapi/media/storage"
)

// Listed is an item as administrators see it.
type Listed = storage.Listed

// UsageQuery asks how much users have uploaded.
type UsageQuery = storage.UsageQuery

// UserUsage is what a user has uploaded.
type UserUsage = storage.UserUsage

// IsOrder and IsUsageOrder say by what lists of media and of users can be sorted.
func IsOrder(order string) bool      { return storage.IsOrder(order) }
func IsUsageOrder(order string) bool { return storage.IsUsageOrder(order) }

// Look returns what a URI names as administrators see it; 404 M_NOT_FOUND if nothing.
func (s *Server) Look(ctx context.Context, x MXC) (*Listed, error) { return s.db.Look(ctx, x) }

// OfUser lists a page of what a local user has uploaded, and how much that is.
func (s *Server) OfUser(ctx context.Context, userID, order string, backwards bool, from, limit int) ([]*Listed, int64, error) {
	return s.db.OfUser(ctx, userID, order, backwards, from, limit)
}

// Old lists files of this server, or copies of those of others, that were created before a time in
// milliseconds and have at least a size in bytes, after an item of the list; nil: from the start.
func (s *Server) Old(ctx context.Context, copies bool, before, size int64, after *Listed, limit int) ([]*Listed, error) {
	return s.db.Old(ctx, s.options.ServerName, copies, before, size, after, limit)
}

// PutAway is Quarantine with who does it. It returns how many URIs it has hidden or shown.
func (s *Server) PutAway(ctx context.Context, x MXC, by string, on bool) (int, error) {
	return s.db.PutAway(ctx, x, by, on)
}

// Protect makes what a URI names safe from quarantine, or ends that.
func (s *Server) Protect(ctx context.Context, x MXC, on bool) error { return s.db.Protect(ctx, x, on) }

// Statistics lists how much users have uploaded, and how many match.
func (s *Server) Statistics(ctx context.Context, q *UsageQuery) ([]UserUsage, int64, error) {
	return s.db.Statistics(ctx, q)
}
