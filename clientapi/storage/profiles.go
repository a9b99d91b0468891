package storage

import (
	"context"
	"encoding/json"
	"net/http"

	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	selectFields = `SELECT field, value FROM profile WHERE localpart = $1`
	upsertField  = `INSERT INTO profile (localpart, field, value) VALUES ($1, $2, $3)
		ON CONFLICT (localpart, field) DO UPDATE SET value = excluded.value`
	deleteField = `DELETE FROM profile WHERE localpart = $1 AND field = $2`
)

// Profile returns the fields of a user's profile as JSON values, 404 M_NOT_FOUND
// if there is no such user or the account is deactivated.
func (u *Users) Profile(ctx context.Context, localpart string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	err := u.db.Read(ctx, func(r *store.Reader) error {
		a, err := account(r, localpart)
		if err != nil {
			return found(err, "User")
		}
		if a.Deactivated {
			return merr.NotFound("User not found")
		}
		fields, err = profile(r, localpart)
		return err
	})
	return fields, err
}

func profile(q store.Queryer, localpart string) (map[string]json.RawMessage, error) {
	rows, err := q.Query(selectFields, localpart)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	fields := map[string]json.RawMessage{}
	for rows.Next() {
		var field string
		var value []byte
		if err := rows.Scan(&field, &value); err != nil {
			return nil, err
		}
		fields[field] = value
	}
	return fields, rows.Err()
}

// SetProfile sets a field, or deletes it if value is nil, and returns the whole
// profile. A name or avatar is news for rooms, which are to be told (ProfileNews). More
// than limit bytes are 400 M_PROFILE_TOO_LARGE.
func (u *Users) SetProfile(ctx context.Context, localpart, field string, value []byte, limit int) (fields map[string]json.RawMessage, err error) {
	err = u.db.Write(ctx, func(tx *store.Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		fields, err = profile(tx, localpart)
		if err != nil {
			return err
		}
		if field == "displayname" || field == "avatar_url" {
			if err := tx.Exec(upsertProfileNews, localpart); err != nil {
				return err
			}
		}
		if field == "displayname" {
			if err := tx.Exec(updateSearch, localpart, searchText(localpart, value)); err != nil {
				return err
			}
		}
		if value == nil {
			delete(fields, field)
			return tx.Exec(deleteField, localpart, field)
		}
		fields[field] = value
		size := 2
		for k, v := range fields {
			size += len(k) + len(v) + len(`"":,`)
		}
		if size > limit {
			return merr.New(http.StatusBadRequest, "M_PROFILE_TOO_LARGE", "The profile would be larger than %d bytes", limit)
		}
		return tx.Exec(upsertField, localpart, field, value)
	})
	return fields, err
}
