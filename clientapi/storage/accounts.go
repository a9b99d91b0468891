package storage

import (
	"context"
	"errors"
	"net/http"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// Account is a row of table account.
type Account struct {
	Localpart   string
	Password    string // hash
	Admin       bool
	Deactivated bool
	Created     int64 // milliseconds
}

// Session is a device and the hash of its access token.
type Session struct {
	Device, DisplayName string
	Token               []byte
	// MaxDevices refuses a new device beyond this number.
	MaxDevices int64
}

const (
	insertAccount = `INSERT INTO account (localpart, password, admin, deactivated, created)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (localpart) DO NOTHING`
	selectAccount    = `SELECT password, admin, deactivated, created FROM account WHERE localpart = $1`
	updatePassword   = `UPDATE account SET password = $2 WHERE localpart = $1`
	updateDeactivate = `UPDATE account SET password = '', admin = $2, deactivated = $3 WHERE localpart = $1`
)

// CreateAccount makes an account with the first displayname (a JSON string), and a
// device if session is not nil. 400 M_USER_IN_USE if the name is taken.
func (u *Users) CreateAccount(ctx context.Context, a Account, displayName []byte, session *Session) error {
	return u.db.Write(ctx, func(tx *store.Tx) error {
		switch _, err := account(tx, a.Localpart); {
		case err == nil:
			return UserInUse()
		case !errors.Is(err, store.ErrNoRows):
			return err
		}
		if err := tx.Exec(insertAccount, a.Localpart, a.Password, a.Admin, false, tx.Now().UnixMilli()); err != nil {
			return err
		}
		if err := tx.Exec(upsertField, a.Localpart, "displayname", displayName); err != nil {
			return err
		}
		if session == nil {
			return nil
		}
		_, err := startSession(tx, a.Localpart, *session)
		return err
	})
}

// UserInUse is 400 M_USER_IN_USE.
func UserInUse() error {
	return merr.New(http.StatusBadRequest, "M_USER_IN_USE", "This user name is taken")
}

// Account returns an account, 404 M_NOT_FOUND if there is none.
func (u *Users) Account(ctx context.Context, localpart string) (Account, error) {
	var a Account
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		a, err = account(r, localpart)
		return found(err, "User")
	})
	return a, err
}

func account(q store.Queryer, localpart string) (Account, error) {
	a := Account{Localpart: localpart}
	err := q.Row(selectAccount, localpart).Scan(&a.Password, &a.Admin, &a.Deactivated, &a.Created)
	return a, err
}

// active returns 404 unless the account is there and not deactivated.
func active(q store.Queryer, localpart string) error {
	a, err := account(q, localpart)
	if err != nil {
		return found(err, "User")
	}
	if a.Deactivated {
		return merr.New(http.StatusForbidden, "M_USER_DEACTIVATED", "This account has been deactivated")
	}
	return nil
}

// SetPassword replaces the password hash. With logout all devices but keep are
// deleted; the hashes of their tokens are returned. was, if not empty, is the hash
// that must still be there; if it is not, nothing happens.
func (u *Users) SetPassword(ctx context.Context, localpart, hash, was string, logout bool, keep string) (revoked [][]byte, err error) {
	err = u.db.Write(ctx, func(tx *store.Tx) error {
		revoked = nil
		if err := active(tx, localpart); err != nil {
			return err
		}
		if was != "" {
			if a, err := account(tx, localpart); err != nil || a.Password != was {
				return err
			}
		}
		if err := tx.Exec(updatePassword, localpart, hash); err != nil {
			return err
		}
		if !logout {
			return nil
		}
		revoked, err = deleteOthers(tx, localpart, keep)
		return err
	})
	return revoked, err
}

// Deactivate ends an account: no password, devices, profile, filters and, with
// erase, no account data. Returned are the hashes of the tokens that are gone.
func (u *Users) Deactivate(ctx context.Context, localpart string, erase bool) (revoked [][]byte, err error) {
	err = u.db.Write(ctx, func(tx *store.Tx) error {
		revoked = nil
		if _, err := account(tx, localpart); err != nil {
			return found(err, "User")
		}
		if err := tx.Exec(updateDeactivate, localpart, false, true); err != nil {
			return err
		}
		gone := []string{`DELETE FROM profile WHERE localpart = $1`, `DELETE FROM filter WHERE localpart = $1`}
		if erase {
			gone = append(gone, `DELETE FROM account_data WHERE localpart = $1`)
		}
		for _, sql := range gone {
			if err := tx.Exec(sql, localpart); err != nil {
				return err
			}
		}
		revoked, err = deleteOthers(tx, localpart, "")
		return err
	})
	return revoked, err
}
