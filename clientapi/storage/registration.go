package storage

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// RegistrationToken is a row of table registration_token; Uses and Expires are −1
// for without limit.
type RegistrationToken struct {
	Token                             string
	Uses, Completed, Expires, Created int64
}

func (t RegistrationToken) valid(now int64) bool {
	return (t.Uses < 0 || t.Completed < t.Uses) && (t.Expires < 0 || now < t.Expires)
}

const (
	selectRegistration  = `SELECT token, uses, completed, expires, created FROM registration_token WHERE token = $1`
	selectRegistrations = `SELECT token, uses, completed, expires, created FROM registration_token WHERE token > $1
		ORDER BY token LIMIT $2`
	insertRegistration = `INSERT INTO registration_token (token, uses, completed, expires, created) VALUES ($1, $2, $3, $4, $5)`
	updateRegistration = `UPDATE registration_token SET uses = $2, expires = $3 WHERE token = $1`
	spendRegistration  = `UPDATE registration_token SET completed = completed + 1 WHERE token = $1`
	deleteRegistration = `DELETE FROM registration_token WHERE token = $1`
)

func registrationToken(q store.Queryer, token string) (t RegistrationToken, err error) {
	err = q.Row(selectRegistration, token).Scan(&t.Token, &t.Uses, &t.Completed, &t.Expires, &t.Created)
	return t, err
}

// InvalidRegistrationToken is 403 M_FORBIDDEN.
func InvalidRegistrationToken() error { return merr.Forbidden("Invalid registration token") }

// SpendToken uses a registration token once: M_FORBIDDEN if it is not valid.
func SpendToken(token string) Step {
	return func(tx *Tx, _ string) error {
		t, err := registrationToken(tx, token)
		if errors.Is(err, store.ErrNoRows) || err == nil && !t.valid(tx.Now().UnixMilli()) {
			return InvalidRegistrationToken()
		}
		if err != nil {
			return err
		}
		return tx.Exec(spendRegistration, token)
	}
}

// RegistrationTokenValid reports whether a token may be used at now (milliseconds).
func (u *Users) RegistrationTokenValid(ctx context.Context, token string, now int64) (valid bool, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		t, err := registrationToken(r, token)
		valid = err == nil && t.valid(now)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
	return valid, err
}

// RegistrationTokens lists tokens after one, in order.
func (u *Users) RegistrationTokens(ctx context.Context, after string, limit int) (list []RegistrationToken, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectRegistrations, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t RegistrationToken
			if err := rows.Scan(&t.Token, &t.Uses, &t.Completed, &t.Expires, &t.Created); err != nil {
				return err
			}
			list = append(list, t)
		}
		return rows.Err()
	})
	return list, err
}

// SetRegistrationToken adds a token or, with update, changes its limits, and returns
// what is stored then.
func (u *Users) SetRegistrationToken(ctx context.Context, token string, uses, expires int64, update bool) (t RegistrationToken, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		t, err = registrationToken(tx, token)
		switch {
		case err == nil && !update:
			return merr.InvalidParam("This registration token is there already")
		case errors.Is(err, store.ErrNoRows) && !update:
			t = RegistrationToken{Token: token, Uses: uses, Expires: expires, Created: tx.Now().UnixMilli()}
			return tx.Exec(insertRegistration, token, uses, 0, expires, t.Created)
		case err != nil:
			return found(err, "Registration token")
		}
		t.Uses, t.Expires = uses, expires
		return tx.Exec(updateRegistration, token, uses, expires)
	})
	return t, err
}

// DeleteRegistrationToken removes a token, 404 M_NOT_FOUND if it is not there.
func (u *Users) DeleteRegistrationToken(ctx context.Context, token string) error {
	return u.write(ctx, func(tx *Tx) error {
		if _, err := registrationToken(tx, token); err != nil {
			return found(err, "Registration token")
		}
		return tx.Exec(deleteRegistration, token)
	})
}
