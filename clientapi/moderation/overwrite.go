package moderation

import "context"

// Overwrite makes sure that what was deleted is in none of the database's files: see store.DB.
func (s *Server) Overwrite(ctx context.Context) error { return s.db.Overwrite(ctx) }
