package storage

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// States of a refresh token.
const (
	refreshInUse    = 0
	refreshPending  = 1 // given out, and neither it nor its access token used yet
	refreshReplaced = 2
)

// maxReplaced is how many replaced refresh tokens of a device are remembered, to
// notice that one is shown again.
const maxReplaced = 20

const (
	insertToken    = `INSERT INTO token (hash, localpart, device, expires, pending) VALUES ($1, $2, $3, $4, $5)`
	deleteTokens   = `DELETE FROM token WHERE localpart = $1 AND device = $2`
	selectTokens   = `SELECT hash FROM token WHERE localpart = $1 AND device = $2`
	selectSome     = `SELECT hash FROM token WHERE localpart = $1 AND device = $2 AND pending = $3`
	deleteSome     = `DELETE FROM token WHERE localpart = $1 AND device = $2 AND pending = $3`
	updatePending  = `UPDATE token SET pending = $3 WHERE localpart = $1 AND device = $2`
	expireTokens   = `UPDATE token SET expires = $3, pending = $4 WHERE localpart = $1 AND device = $2`
	selectIdentity = `SELECT t.localpart, t.device, t.expires, t.pending, a.admin, a.guest, a.locked, a.suspended, a.shadow_banned, a.role
		FROM token t JOIN account a ON a.localpart = t.localpart WHERE t.hash = $1`

	insertRefresh   = `INSERT INTO refresh (hash, localpart, device, state, created) VALUES ($1, $2, $3, $4, $5)`
	selectRefresh   = `SELECT localpart, device, state FROM refresh WHERE hash = $1`
	deleteRefreshes = `DELETE FROM refresh WHERE localpart = $1 AND device = $2`
	deletePending   = `DELETE FROM refresh WHERE localpart = $1 AND device = $2 AND state = $3`
	updateRefresh   = `UPDATE refresh SET state = $4 WHERE localpart = $1 AND device = $2 AND state = $3`
	replaceAll      = `UPDATE refresh SET state = $3 WHERE localpart = $1 AND device = $2`
	pruneRefreshes  = `DELETE FROM refresh WHERE localpart = $1 AND device = $2 AND state = $3 AND hash NOT IN
		(SELECT hash FROM refresh WHERE localpart = $1 AND device = $2 AND state = $3 ORDER BY created DESC, hash LIMIT $4)`
)

// Owner is whom an access token belongs to.
type Owner struct {
	Localpart, Device string
	Expires           int64 // milliseconds, 0: never
	Pending           bool  // made by a refresh and not used yet
	Admin, Guest      bool
	Restrictions
}

// NotApproved is 403 M_FORBIDDEN for an account that waits for an administrator.
func NotApproved() error {
	return merr.Forbidden("This account has to be approved by an administrator of the server before it can be used")
}

// Authenticate finds the owner of a token, store.ErrNoRows if there is none.
func (u *Users) Authenticate(ctx context.Context, hash []byte) (Owner, error) {
	var o Owner
	err := u.db.Read(ctx, func(r *store.Reader) error {
		return owner(r, hash, &o)
	})
	return o, err
}

func owner(q store.Queryer, hash []byte, o *Owner) error {
	return q.Row(selectIdentity, hash).Scan(&o.Localpart, &o.Device, &o.Expires, &o.Pending, &o.Admin, &o.Guest, &o.Locked, &o.Suspended, &o.ShadowBanned, &o.Role)
}

// FirstUse ends what a refresh has replaced, now that its access token is used.
// Returned are the hashes of the access tokens that are gone.
func (u *Users) FirstUse(ctx context.Context, hash []byte) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked = nil
		var o Owner
		if err := owner(tx, hash, &o); err != nil {
			return err
		}
		if !o.Pending {
			return nil
		}
		revoked, err = promote(tx, o.Localpart, o.Device)
		return err
	})
	return revoked, err
}

// promote puts the pending pair of a device in the place of the one in use.
func promote(tx *Tx, localpart, device string) ([][]byte, error) {
	revoked, err := blobs(tx, selectSome, localpart, device, false)
	if err != nil {
		return nil, err
	}
	if err := tx.Exec(deleteSome, localpart, device, false); err != nil {
		return nil, err
	}
	if err := tx.Exec(updatePending, localpart, device, false); err != nil {
		return nil, err
	}
	if err := tx.Exec(updateRefresh, localpart, device, refreshInUse, refreshReplaced); err != nil {
		return nil, err
	}
	if err := tx.Exec(updateRefresh, localpart, device, refreshPending, refreshInUse); err != nil {
		return nil, err
	}
	return revoked, tx.Exec(pruneRefreshes, localpart, device, refreshReplaced, maxReplaced)
}

// Refreshed is the result of a refresh.
type Refreshed struct {
	Localpart, Device string
	// Stolen: the token had been replaced, and no token of the device is valid any more.
	Stolen  bool
	Revoked [][]byte
}

// Refresh exchanges the refresh token hash for the tokens in s, store.ErrNoRows if
// there is none. The device in s is not used.
func (u *Users) Refresh(ctx context.Context, hash []byte, s Session) (Refreshed, error) {
	var out Refreshed
	err := u.write(ctx, func(tx *Tx) error {
		out = Refreshed{}
		var state int64
		if err := tx.Row(selectRefresh, hash).Scan(&out.Localpart, &out.Device, &state); err != nil {
			return err
		}
		if err := active(tx, out.Localpart); err != nil {
			return err
		}
		return refresh(tx, &out, state, s)
	})
	return out, err
}

func refresh(tx *Tx, out *Refreshed, state int64, s Session) (err error) {
	switch state {
	case refreshReplaced:
		out.Stolen = true
		out.Revoked, err = endTokens(tx, out.Localpart, out.Device)
		return err
	case refreshPending:
		if out.Revoked, err = promote(tx, out.Localpart, out.Device); err != nil {
			return err
		}
	}
	unused, err := blobs(tx, selectSome, out.Localpart, out.Device, true)
	if err != nil {
		return err
	}
	out.Revoked = append(out.Revoked, unused...)
	if err := tx.Exec(deleteSome, out.Localpart, out.Device, true); err != nil {
		return err
	}
	if err := tx.Exec(deletePending, out.Localpart, out.Device, refreshPending); err != nil {
		return err
	}
	if err := tx.Exec(insertRefresh, s.Refresh, out.Localpart, out.Device, refreshPending, tx.Now().UnixMilli()); err != nil {
		return err
	}
	return tx.Exec(insertToken, s.Token, out.Localpart, out.Device, s.Expires, true)
}

// endTokens makes all tokens of a device invalid but remembers them, so that the owner
// hears that the device is still there.
func endTokens(tx *Tx, localpart, device string) ([][]byte, error) {
	hashes, err := blobs(tx, selectTokens, localpart, device)
	if err != nil {
		return nil, err
	}
	if err := tx.Exec(expireTokens, localpart, device, 1, false); err != nil {
		return nil, err
	}
	return hashes, tx.Exec(replaceAll, localpart, device, refreshReplaced)
}

// dropTokens deletes all tokens of a device and returns the hashes of its access tokens.
func dropTokens(tx *Tx, localpart, id string) ([][]byte, error) {
	hashes, err := blobs(tx, selectTokens, localpart, id)
	if err != nil {
		return nil, err
	}
	if err := tx.Exec(deleteRefreshes, localpart, id); err != nil {
		return nil, err
	}
	if len(hashes) == 0 {
		return nil, nil
	}
	return hashes, tx.Exec(deleteTokens, localpart, id)
}

// Kinds of tickets.
const (
	TicketLogin  = 1
	TicketOpenID = 2
)

// maxTickets is how many tickets of a kind a user may have.
const maxTickets = 100

const (
	insertTicket  = `INSERT INTO ticket (hash, kind, localpart, expires) VALUES ($1, $2, $3, $4)`
	selectTicket  = `SELECT localpart FROM ticket WHERE hash = $1 AND kind = $2 AND expires > $3`
	deleteTicket  = `DELETE FROM ticket WHERE hash = $1`
	expireTickets = `DELETE FROM ticket WHERE expires <= $1`
	countTickets  = `SELECT count(*) FROM ticket WHERE localpart = $1 AND kind = $2`
	pruneTickets  = `DELETE FROM ticket WHERE localpart = $1 AND kind = $2 AND hash IN
		(SELECT hash FROM ticket WHERE localpart = $1 AND kind = $2 ORDER BY expires, hash LIMIT $3)`
)

// IssueTicket stores a ticket. A user with too many loses the oldest.
func (u *Users) IssueTicket(ctx context.Context, kind int64, hash []byte, localpart string, expires int64) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		if err := tx.Exec(expireTickets, tx.Now().UnixMilli()); err != nil {
			return err
		}
		n, err := count(tx, countTickets, localpart, kind)
		if err != nil {
			return err
		}
		if n >= maxTickets {
			if err := tx.Exec(pruneTickets, localpart, kind, n-maxTickets+1); err != nil {
				return err
			}
		}
		return tx.Exec(insertTicket, hash, kind, localpart, expires)
	})
}

// Ticket returns the user of a ticket that is valid at now (milliseconds),
// store.ErrNoRows if it is not.
func (u *Users) Ticket(ctx context.Context, kind int64, hash []byte, now int64) (localpart string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return r.Row(selectTicket, hash, kind, now).Scan(&localpart)
	})
	return localpart, err
}

// TicketSession uses a log-in ticket up and starts a session of its user. ok is false
// if the ticket is not valid.
func (u *Users) TicketSession(ctx context.Context, hash []byte, s Session) (localpart string, revoked [][]byte, ok bool, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked, ok = nil, false
		err := tx.Row(selectTicket, hash, int64(TicketLogin), tx.Now().UnixMilli()).Scan(&localpart)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.Exec(deleteTicket, hash); err != nil {
			return err
		}
		if err := active(tx, localpart); err != nil {
			return err
		}
		if a, err := account(tx, localpart); err != nil {
			return err
		} else if a.Unapproved {
			return NotApproved()
		}
		ok = true
		revoked, err = startSession(tx, localpart, s)
		return err
	})
	return localpart, revoked, ok, err
}
