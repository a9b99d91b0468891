package appservice

import "context"

// Overwrite makes sure that what was deleted is in none of the database's files: see store.DB.
func (s *Service) Overwrite(ctx context.Context) error { return s.db.DB.Overwrite(ctx) }
