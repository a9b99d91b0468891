package storage

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// ThreePID is a row of table threepid; times in milliseconds.
type ThreePID struct {
	Medium, Address  string
	Validated, Added int64
}

const (
	selectThreePIDs = `SELECT medium, address, validated, added FROM threepid WHERE localpart = $1 ORDER BY medium, address`
	selectOwner     = `SELECT localpart FROM threepid WHERE medium = $1 AND address = $2`
	countThreePIDs  = `SELECT count(*) FROM threepid WHERE localpart = $1`
	upsertThreePID  = `INSERT INTO threepid (medium, address, localpart, validated, added) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (medium, address) DO UPDATE SET validated = excluded.validated`
	deleteThreePID = `DELETE FROM threepid WHERE medium = $1 AND address = $2 AND localpart = $3`
)

// ThreePIDs lists the identifiers of a user.
func (u *Users) ThreePIDs(ctx context.Context, localpart string) (list []ThreePID, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectThreePIDs, localpart)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t ThreePID
			if err := rows.Scan(&t.Medium, &t.Address, &t.Validated, &t.Added); err != nil {
				return err
			}
			list = append(list, t)
		}
		return rows.Err()
	})
	return list, err
}

// ThreePIDOwner finds the user of an identifier, 404 M_NOT_FOUND if there is none.
func (u *Users) ThreePIDOwner(ctx context.Context, medium, address string) (localpart string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return found(r.Row(selectOwner, medium, address).Scan(&localpart), "Third-party identifier")
	})
	return localpart, err
}

// OwnThreePID gives a user an identifier: 400 M_THREEPID_IN_USE if it is another's.
func OwnThreePID(t ThreePID, limit int64) Step {
	return func(tx *Tx, localpart string) error {
		var owner string
		err := tx.Row(selectOwner, t.Medium, t.Address).Scan(&owner)
		switch {
		case errors.Is(err, store.ErrNoRows):
			n, err := count(tx, countThreePIDs, localpart)
			if err != nil {
				return err
			}
			if n >= limit {
				return merr.Forbidden("This account has %d third-party identifiers, remove some first", n)
			}
		case err != nil:
			return err
		case owner != localpart:
			return merr.New(http.StatusBadRequest, "M_THREEPID_IN_USE", "This address belongs to another account")
		}
		return tx.Exec(upsertThreePID, t.Medium, t.Address, localpart, t.Validated, tx.Now().UnixMilli())
	}
}

// AddThreePID is OwnThreePID as a write of its own.
func (u *Users) AddThreePID(ctx context.Context, localpart string, t ThreePID, limit int64) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		return OwnThreePID(t, limit)(tx, localpart)
	})
}

// DeleteThreePID removes an identifier of a user if it is there.
func (u *Users) DeleteThreePID(ctx context.Context, localpart, medium, address string) error {
	return u.write(ctx, func(tx *Tx) error {
		return tx.Exec(deleteThreePID, medium, address, localpart)
	})
}

// Validation is a row of table validation; times in milliseconds.
type Validation struct {
	Sid, Purpose, Medium, Address, Secret string
	Token                                 []byte // hash of what is sent
	Attempt                               int64
	NextLink                              string
	Expires, Validated                    int64
}

// maxValidations is how many validations of one address may be open, so that nobody
// can fill a mailbox or the table with ever new secrets.
const maxValidations = 20

const (
	selectValidationOf = `SELECT sid, attempt FROM validation WHERE purpose = $1 AND medium = $2 AND address = $3 AND secret = $4`
	countValidations   = `SELECT count(*) FROM validation WHERE purpose = $1 AND medium = $2 AND address = $3`
	insertValidation   = `INSERT INTO validation (sid, purpose, medium, address, secret, token, attempt, next_link, expires, validated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	updateValidation = `UPDATE validation SET token = $2, attempt = $3, next_link = $4, expires = $5, validated = $6 WHERE sid = $1`
	selectValidation = `SELECT purpose, medium, address, secret, token, next_link, expires, validated FROM validation WHERE sid = $1`
	setValidated     = `UPDATE validation SET validated = $2, token = $3 WHERE sid = $1`
	deleteValidation = `DELETE FROM validation WHERE sid = $1`
	expireValidation = `DELETE FROM validation WHERE expires <= $1`
)

// keepExpired is how long a validation is remembered beyond its end, to say that it
// is too old rather than unknown.
const keepExpired = 24 * time.Hour

// StartValidation stores v, or renews the one of the same purpose, address and
// secret if v has a higher attempt. send says that v's token is now the one to send.
func (u *Users) StartValidation(ctx context.Context, v Validation) (sid string, send bool, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		now := tx.Now()
		if err := tx.Exec(expireValidation, now.Add(-keepExpired).UnixMilli()); err != nil {
			return err
		}
		var attempt int64
		err := tx.Row(selectValidationOf, v.Purpose, v.Medium, v.Address, v.Secret).Scan(&sid, &attempt)
		if err == nil {
			if send = v.Attempt > attempt; !send {
				return nil
			}
			return tx.Exec(updateValidation, sid, v.Token, v.Attempt, v.NextLink, v.Expires, 0)
		}
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		n, err := count(tx, countValidations, v.Purpose, v.Medium, v.Address)
		if err != nil {
			return err
		}
		if n >= maxValidations {
			return merr.LimitExceeded(time.Hour)
		}
		sid, send = v.Sid, true
		return tx.Exec(insertValidation, v.Sid, v.Purpose, v.Medium, v.Address, v.Secret, v.Token, v.Attempt, v.NextLink, v.Expires, 0)
	})
	return sid, send, err
}

func validation(q store.Queryer, sid, secret string) (Validation, error) {
	v := Validation{Sid: sid}
	err := q.Row(selectValidation, sid).Scan(&v.Purpose, &v.Medium, &v.Address, &v.Secret, &v.Token, &v.NextLink, &v.Expires, &v.Validated)
	if errors.Is(err, store.ErrNoRows) || err == nil && subtle.ConstantTimeCompare([]byte(v.Secret), []byte(secret)) != 1 {
		return v, merr.New(http.StatusNotFound, "M_NO_VALID_SESSION", "There is no such validation")
	}
	return v, err
}

// Validate accepts the token of a validation, by its hash, once.
func (u *Users) Validate(ctx context.Context, sid, secret string, token []byte) (v Validation, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		if v, err = validation(tx, sid, secret); err != nil {
			return err
		}
		now := tx.Now().UnixMilli()
		if now >= v.Expires {
			return merr.New(http.StatusBadRequest, "M_SESSION_EXPIRED", "This validation is too old, ask for a new one")
		}
		if len(v.Token) == 0 || subtle.ConstantTimeCompare(v.Token, token) != 1 {
			return merr.New(http.StatusBadRequest, "M_TOKEN_INCORRECT", "The token is not the one that was sent, or was used already")
		}
		v.Validated = now
		return tx.Exec(setValidated, sid, now, []byte{})
	})
	return v, err
}

// Validated returns a validation that has succeeded and, with consume, deletes it.
func (u *Users) Validated(ctx context.Context, purpose, sid, secret string, consume bool) (v Validation, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		if v, err = validation(tx, sid, secret); err != nil {
			return err
		}
		if v.Purpose != purpose || v.Validated == 0 || tx.Now().UnixMilli() >= v.Expires {
			return merr.New(http.StatusBadRequest, "M_SESSION_NOT_VALIDATED", "The address has not been confirmed")
		}
		if !consume {
			return nil
		}
		return tx.Exec(deleteValidation, sid)
	})
	return v, err
}
