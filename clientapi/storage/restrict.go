package storage

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// Restrictions are what administrators have taken from an account, and its role in the admin
// API ("": what Admin says).
type Restrictions struct {
	Locked, Suspended, ShadowBanned bool
	Role                            string
}

const (
	updateRestrictions = `UPDATE account SET locked = $2, suspended = $3, shadow_banned = $4, role = $5, admin = $6 WHERE localpart = $1`
	selectAllTokens    = `SELECT hash FROM token WHERE localpart = $1`
	otherAdmins        = `SELECT COUNT(*) FROM account WHERE admin = $2 AND deactivated = $3 AND locked = $3 AND localpart <> $1`
)

// Restrict changes the restrictions of an account and returns it as it is then, with the hashes
// of its access tokens, which stay valid but belong to somebody who may do other things now. 404
// M_NOT_FOUND if there is no such account or it is deactivated; 403 M_FORBIDDEN where nobody
// would be left who may administer the server.
func (u *Users) Restrict(ctx context.Context, localpart string, change func(a *Account) error) (after Account, tokens [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		a, err := account(tx, localpart)
		if err != nil {
			return found(err, "User")
		}
		if a.Deactivated {
			return merr.NotFound("User not found")
		}
		wasAdmin := a.Admin && !a.Locked
		if err := change(&a); err != nil {
			return err
		}
		if wasAdmin && (!a.Admin || a.Locked) {
			if err := anotherAdmin(tx, localpart); err != nil {
				return err
			}
		}
		after = a
		if err := tx.Exec(updateRestrictions, localpart, a.Locked, a.Suspended, a.ShadowBanned, a.Role, a.Admin); err != nil {
			return err
		}
		tokens, err = blobs(tx, selectAllTokens, localpart)
		return err
	})
	return after, tokens, err
}

// anotherAdmin refuses what would leave the server without an administrator.
func anotherAdmin(q store.Queryer, localpart string) error {
	n, err := count(q, otherAdmins, localpart, true, false)
	if err != nil {
		return err
	}
	if n == 0 {
		return merr.Forbidden("The last administrator cannot be locked out")
	}
	return nil
}
