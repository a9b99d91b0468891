package storage

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/store"
)

const (
	selectRemoteList = `SELECT stream, wanted, stale FROM remote_list WHERE user_id = $1`
	trackRemoteList  = `INSERT INTO remote_list (user_id, stream, wanted, stale, failures, retry_at)
		VALUES ($1, 0, 0, TRUE, 0, 0) ON CONFLICT (user_id) DO NOTHING`
	setRemoteList = `INSERT INTO remote_list (user_id, stream, wanted, stale, failures, retry_at)
		VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT (user_id) DO UPDATE SET stream = excluded.stream, wanted = excluded.wanted,
		stale = excluded.stale, failures = 0, retry_at = 0`
	setRemoteStream = `UPDATE remote_list SET stream = $2, wanted = $2 WHERE user_id = $1`
	spoilRemoteList = `UPDATE remote_list SET stale = TRUE, wanted = $2 WHERE user_id = $1`
	failRemoteList  = `UPDATE remote_list SET failures = failures + 1, retry_at = $2 WHERE user_id = $1 AND stale`
	dropRemoteList  = `DELETE FROM remote_list WHERE user_id = $1`
	// stale lists whose time has come
	selectStale = `SELECT user_id, failures FROM remote_list WHERE stale AND retry_at <= $1 ORDER BY retry_at, user_id LIMIT $2`

	upsertRemoteDevice = `INSERT INTO remote_device (user_id, device, display_name, keys) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, device) DO UPDATE SET display_name = excluded.display_name, keys = excluded.keys`
	deleteRemoteDevice  = `DELETE FROM remote_device WHERE user_id = $1 AND device = $2`
	deleteRemoteDevices = `DELETE FROM remote_device WHERE user_id = $1`
	countRemoteDevices  = `SELECT count(*) FROM remote_device WHERE user_id = $1`
)

// RemoteUpdate is a change of one device of a user of another server.
type RemoteUpdate struct {
	UserID string
	Stream int64
	Prev   []int64
	Device DeviceKey // Keys nil: the device is gone
}

// RemoteState says whether the list of a user is kept and whether it must be fetched again.
type RemoteState struct{ Kept, Stale bool }

type remoteList struct {
	stream, wanted int64
	stale          bool
}

func readRemoteList(tx *Tx, user string) (l remoteList, kept bool, err error) {
	err = tx.Row(selectRemoteList, user).Scan(&l.stream, &l.wanted, &l.stale)
	if errors.Is(err, store.ErrNoRows) {
		return l, false, nil
	}
	return l, err == nil, err
}

// UpdateRemoteDevice applies a change to a list that is kept. If changes before it are
// missing, or there would be more than limit devices, the list is stale.
func (u *Users) UpdateRemoteDevice(ctx context.Context, c RemoteUpdate, limit int64) (state RemoteState, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		state = RemoteState{}
		list, kept, err := readRemoteList(tx, c.UserID)
		if err != nil || !kept {
			return err
		}
		state.Kept = true
		switch {
		case list.stale:
			state.Stale = true
			if c.Stream <= list.wanted {
				return nil
			}
			err = tx.Exec(spoilRemoteList, c.UserID, c.Stream)
		case c.Stream <= list.stream: // the list has it
			return nil
		case !follows(list.stream, c.Prev):
			state.Stale = true
			err = tx.Exec(spoilRemoteList, c.UserID, c.Stream)
		default:
			state.Stale, err = applyRemote(tx, c, limit)
		}
		if err != nil {
			return err
		}
		return changed(tx, c.UserID, "", false)
	})
	return state, err
}

// follows reports whether a list that is complete up to stream has all changes that
// came before one. A change that names none before it is the first of all.
func follows(stream int64, prev []int64) bool {
	if len(prev) == 0 {
		return stream == 0
	}
	return slices.Max(prev) <= stream
}

func applyRemote(tx *Tx, c RemoteUpdate, limit int64) (stale bool, err error) {
	if c.Device.Keys == nil {
		err = tx.Exec(deleteRemoteDevice, c.UserID, c.Device.Device)
	} else {
		err = tx.Exec(upsertRemoteDevice, c.UserID, c.Device.Device, c.Device.DisplayName, c.Device.Keys)
	}
	if err != nil {
		return false, err
	}
	n, err := count(tx, countRemoteDevices, c.UserID)
	if err != nil {
		return false, err
	}
	if n > limit {
		return true, tx.Exec(spoilRemoteList, c.UserID, c.Stream)
	}
	return false, tx.Exec(setRemoteStream, c.UserID, c.Stream)
}

// UpdateRemoteCross replaces cross-signing keys of a list that is kept. Those that keys
// has not got stay.
func (u *Users) UpdateRemoteCross(ctx context.Context, user string, keys []CrossKey) (state RemoteState, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		list, kept, err := readRemoteList(tx, user)
		state = RemoteState{Kept: kept, Stale: list.stale}
		if err != nil || !kept {
			return err
		}
		for _, k := range keys {
			if err := tx.Exec(upsertCrossKey, user, k.Purpose, k.ID, k.Keys); err != nil {
				return err
			}
		}
		return changed(tx, user, "", false)
	})
	return state, err
}

// SetRemoteList replaces a list by one that was fetched. It stays stale if there was a
// change after stream meanwhile.
func (u *Users) SetRemoteList(ctx context.Context, user string, stream int64, devices []DeviceKey, cross []CrossKey) (state RemoteState, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		list, kept, err := readRemoteList(tx, user)
		if err != nil {
			return err
		}
		if kept && !list.stale && list.stream > stream {
			state = RemoteState{Kept: true} // it is newer than what was fetched
			return nil
		}
		state = RemoteState{Kept: true, Stale: kept && list.stale && list.wanted > stream}
		if err := tx.Exec(setRemoteList, user, stream, max(stream, list.wanted), state.Stale); err != nil {
			return err
		}
		if err := forgetRemote(tx, user); err != nil {
			return err
		}
		for _, k := range cross {
			if err := tx.Exec(upsertCrossKey, user, k.Purpose, k.ID, k.Keys); err != nil {
				return err
			}
		}
		for _, d := range devices {
			if err := tx.Exec(upsertRemoteDevice, user, d.Device, d.DisplayName, d.Keys); err != nil {
				return err
			}
		}
		return changed(tx, user, "", false)
	})
	return state, err
}

func forgetRemote(tx *Tx, user string) error {
	if err := tx.Exec(deleteRemoteDevices, user); err != nil {
		return err
	}
	return tx.Exec(`DELETE FROM cross_signing_key WHERE localpart = $1`, user)
}

// TrackRemoteLists begins to keep lists, which are stale at first.
func (u *Users) TrackRemoteLists(ctx context.Context, users []string) error {
	return u.write(ctx, func(tx *Tx) error {
		for _, user := range users {
			if err := tx.Exec(trackRemoteList, user); err != nil {
				return err
			}
		}
		return nil
	})
}

// DistrustRemoteLists makes the lists of users stale that are kept.
func (u *Users) DistrustRemoteLists(ctx context.Context, users []string) error {
	return u.write(ctx, func(tx *Tx) error {
		for _, user := range users {
			if err := tx.Exec(`UPDATE remote_list SET stale = TRUE WHERE user_id = $1 AND NOT stale`, user); err != nil {
				return err
			}
		}
		return nil
	})
}

// StaleList is a list that must be fetched again.
type StaleList struct {
	UserID   string
	Failures int64
}

// StaleRemoteLists lists stale lists whose time has come, at most limit.
func (u *Users) StaleRemoteLists(ctx context.Context, now int64, limit int) (list []StaleList, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectStale, now, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s StaleList
			if err := rows.Scan(&s.UserID, &s.Failures); err != nil {
				return err
			}
			list = append(list, s)
		}
		return rows.Err()
	})
	return list, err
}

// RemoteListFailed notes that a list could not be fetched, and when to try again.
func (u *Users) RemoteListFailed(ctx context.Context, user string, retryAt int64) error {
	return u.write(ctx, func(tx *Tx) error { return tx.Exec(failRemoteList, user, retryAt) })
}

// DropRemoteList ends keeping the list of a user.
func (u *Users) DropRemoteList(ctx context.Context, user string) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := forgetRemote(tx, user); err != nil {
			return err
		}
		return tx.Exec(dropRemoteList, user)
	})
}

// DeviceListPosition is the position of the last change of a local user's devices, 0 if
// there was none.
func (u *Users) DeviceListPosition(ctx context.Context, localpart string) (pos int64, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		err := r.Row(selectLastChange, localpart).Scan(&pos)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
	return pos, err
}
