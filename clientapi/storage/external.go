package storage

import (
	"context"
	"errors"

	"hearth/internal/store"
)

const (
	selectExternal  = `SELECT localpart FROM external_id WHERE provider = $1 AND subject = $2`
	selectExternals = `SELECT provider, subject FROM external_id WHERE localpart = $1 ORDER BY provider, subject`
	insertExternal  = `INSERT INTO external_id (provider, subject, localpart) VALUES ($1, $2, $3)`
)

// ExternalUser finds the user of an id at a provider, 404 M_NOT_FOUND if there is none.
func (u *Users) ExternalUser(ctx context.Context, provider, subject string) (localpart string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return found(r.Row(selectExternal, provider, subject).Scan(&localpart), "User")
	})
	return localpart, err
}

// ExternalIDs calls each with the ids of a user.
func (u *Users) ExternalIDs(ctx context.Context, localpart string, each func(provider, subject string)) error {
	return u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectExternals, localpart)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var provider, subject string
			if err := rows.Scan(&provider, &subject); err != nil {
				return err
			}
			each(provider, subject)
		}
		return rows.Err()
	})
}

// OwnExternalID makes a user known at a provider: 400 M_USER_IN_USE if another is there.
func OwnExternalID(provider, subject string) Step {
	return func(tx *Tx, localpart string) error {
		var owner string
		err := tx.Row(selectExternal, provider, subject).Scan(&owner)
		if err == nil && owner != localpart {
			return UserInUse()
		}
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		return tx.Exec(insertExternal, provider, subject, localpart)
	}
}
