package account

import "context"

// Overwrite makes sure that what was deleted is in none of the database's files: see store.DB.
func (s *Store) Overwrite(ctx context.Context) error { return s.users.Overwrite(ctx) }
