package storage

import "context"

// Overwrite makes sure that what was deleted is in none of the database's files: see store.DB.
func (u *Users) Overwrite(ctx context.Context) error { return u.db.Overwrite(ctx) }
