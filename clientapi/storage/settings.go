package storage

import (
	"context"

	"hearth/internal/store"
)

const (
	selectSettings = `SELECT name, value FROM account_setting WHERE localpart = $1`
	settingsByName = `SELECT localpart, value FROM account_setting WHERE name = $1 ORDER BY localpart LIMIT 10000`
	upsertSetting  = `INSERT INTO account_setting (localpart, name, value) VALUES ($1, $2, $3)
ON CONFLICT (localpart, name) DO UPDATE SET value = excluded.value`
	deleteSetting = `DELETE FROM account_setting WHERE localpart = $1 AND name = $2`
)

// Settings reads what administrators have set for an account, 404 M_NOT_FOUND if there is none.
func (u *Users) Settings(ctx context.Context, localpart string) (values map[string][]byte, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		if _, err := account(r, localpart); err != nil {
			return found(err, "User")
		}
		values, err = pairs(r, selectSettings, localpart)
		return err
	})
	return values, err
}

// SettingsByName reads one setting of all accounts that have it, by localpart.
func (u *Users) SettingsByName(ctx context.Context, name string) (values map[string][]byte, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		values, err = pairs(r, settingsByName, name)
		return err
	})
	return values, err
}

func pairs(r *store.Reader, sql, arg string) (map[string][]byte, error) {
	rows, err := r.Query(sql, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values := map[string][]byte{}
	for rows.Next() {
		var key string
		var value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return nil, err
		}
		values[key] = value
	}
	return values, rows.Err()
}

// SetSetting changes a setting of an account; no value takes it away. 404 M_NOT_FOUND if there is
// no such account.
func (u *Users) SetSetting(ctx context.Context, localpart, name string, value []byte) error {
	return u.write(ctx, func(tx *Tx) error {
		if _, err := account(tx, localpart); err != nil {
			return found(err, "User")
		}
		if len(value) == 0 {
			return tx.Exec(deleteSetting, localpart, name)
		}
		return tx.Exec(upsertSetting, localpart, name, value)
	})
}
