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
	Guest       bool
	Unapproved  bool // waits for an administrator
	Erased      bool
	Restrictions
}

// Session is a device with the hashes of its tokens.
type Session struct {
	Device, DisplayName string
	Token               []byte
	Expires             int64  // of Token, in milliseconds; 0: never
	Refresh             []byte // nil: none
	// MaxDevices refuses a new device beyond this number.
	MaxDevices int64
}

const (
	insertAccount = `INSERT INTO account (localpart, password, admin, deactivated, created, guest, approved, search)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (localpart) DO NOTHING`
	selectAccount = `SELECT password, admin, deactivated, created, guest, approved, erased, locked, suspended, shadow_banned, role
		FROM account WHERE localpart = $1`
	updatePassword   = `UPDATE account SET password = $2 WHERE localpart = $1`
	updateUpgrade    = `UPDATE account SET password = $2, guest = $3, approved = $4 WHERE localpart = $1`
	updateApproved   = `UPDATE account SET approved = $2 WHERE localpart = $1`
	updateDeactivate = `UPDATE account SET password = '', admin = $2, deactivated = $3, erased = $4, search = ' '
		WHERE localpart = $1`
	selectUnapproved = `SELECT localpart FROM account WHERE localpart > $1 AND approved = $2 AND deactivated = $2
		ORDER BY localpart LIMIT $3`
)

// Step is a part of a write that belongs to the same transaction as another one.
type Step func(tx *Tx, localpart string) error

// CreateAccount makes an account with the first displayname (a JSON string), and a
// device if session is not nil. 400 M_USER_IN_USE if the name is taken. An error of
// a step undoes it all.
func (u *Users) CreateAccount(ctx context.Context, a Account, displayName []byte, session *Session, also ...Step) error {
	return u.write(ctx, func(tx *Tx) error {
		switch _, err := account(tx, a.Localpart); {
		case err == nil:
			return UserInUse()
		case !errors.Is(err, store.ErrNoRows):
			return err
		}
		err := tx.Exec(insertAccount, a.Localpart, a.Password, a.Admin, false, tx.Now().UnixMilli(), a.Guest, !a.Unapproved,
			searchText(a.Localpart, displayName))
		if err != nil {
			return err
		}
		if err := tx.Exec(upsertField, a.Localpart, "displayname", displayName); err != nil {
			return err
		}
		for _, step := range also {
			if err := step(tx, a.Localpart); err != nil {
				return err
			}
		}
		if session == nil {
			return nil
		}
		_, err = startSession(tx, a.Localpart, *session)
		return err
	})
}

// UpgradeGuest gives a guest account a password and takes the limits of guests off;
// otherwise as CreateAccount. M_FORBIDDEN if the account is not a guest's.
func (u *Users) UpgradeGuest(ctx context.Context, a Account, session *Session, also ...Step) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked = nil
		if err := active(tx, a.Localpart); err != nil {
			return err
		}
		if old, err := account(tx, a.Localpart); err != nil {
			return err
		} else if !old.Guest {
			return merr.Forbidden("This is not a guest account")
		}
		if err := tx.Exec(updateUpgrade, a.Localpart, a.Password, false, !a.Unapproved); err != nil {
			return err
		}
		for _, step := range also {
			if err := step(tx, a.Localpart); err != nil {
				return err
			}
		}
		if session == nil {
			revoked, err = deleteOthers(tx, a.Localpart, "")
			return err
		}
		revoked, err = startSession(tx, a.Localpart, *session)
		return err
	})
	return revoked, err
}

// Approve lets an account log in.
func (u *Users) Approve(ctx context.Context, localpart string) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		return tx.Exec(updateApproved, localpart, true)
	})
}

// Unapproved lists localparts that wait for approval, in order.
func (u *Users) Unapproved(ctx context.Context, after string, limit int) (list []string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		list, err = texts(r, selectUnapproved, after, false, limit)
		return err
	})
	return list, err
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
	var approved bool
	err := q.Row(selectAccount, localpart).Scan(&a.Password, &a.Admin, &a.Deactivated, &a.Created,
		&a.Guest, &approved, &a.Erased, &a.Locked, &a.Suspended, &a.ShadowBanned, &a.Role)
	a.Unapproved = !approved
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
	err = u.write(ctx, func(tx *Tx) error {
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

// Deactivate ends an account: no password, devices, profile, filters, third-party
// identifiers and, with erase, no account data and no ids at providers. Returned are the
// hashes of the tokens that are gone.
func (u *Users) Deactivate(ctx context.Context, localpart string, erase bool) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked = nil
		if _, err := account(tx, localpart); err != nil {
			return found(err, "User")
		}
		if err := tx.Exec(updateDeactivate, localpart, false, true, erase); err != nil {
			return err
		}
		gone := []string{
			`DELETE FROM profile WHERE localpart = $1`, `DELETE FROM filter WHERE localpart = $1`,
			`DELETE FROM threepid WHERE localpart = $1`, `DELETE FROM binding WHERE localpart = $1`,
			`DELETE FROM profile_news WHERE localpart = $1`,
			`DELETE FROM ticket WHERE localpart = $1`, `DELETE FROM notice_room WHERE localpart = $1`,
		}
		if erase {
			gone = append(gone, `DELETE FROM account_data WHERE localpart = $1`, `DELETE FROM external_id WHERE localpart = $1`,
				`DELETE FROM thread_subscription WHERE localpart = $1`)
		}
		for _, sql := range gone {
			if err := tx.Exec(sql, localpart); err != nil {
				return err
			}
		}
		if revoked, err = deleteOthers(tx, localpart, ""); err != nil {
			return err
		}
		return dropAccountKeys(tx, localpart)
	})
	return revoked, err
}
