package storage

import "context"

// Overwrite makes sure that what was deleted is in none of the database's files: see store.DB.
func (m *Media) Overwrite(ctx context.Context) error { return m.db.Overwrite(ctx) }
