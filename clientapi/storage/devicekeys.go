package storage

import (
	"context"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	selectDeviceKey = `SELECT keys FROM device_key WHERE localpart = $1 AND device = $2`
	upsertDeviceKey = `INSERT INTO device_key (localpart, device, keys) VALUES ($1, $2, $3)
		ON CONFLICT (localpart, device) DO UPDATE SET keys = excluded.keys`
	deleteDeviceKey = `DELETE FROM device_key WHERE localpart = $1 AND device = $2`

	// the last change of a device: those of cross-signing keys have no place in the chain
	selectLastChange = `SELECT pos FROM device_change WHERE localpart = $1 AND device <> '' ORDER BY pos DESC LIMIT 1`
	upsertChange     = `INSERT INTO device_change (localpart, device, pos, prev, gone) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (localpart, device) DO UPDATE SET pos = excluded.pos, prev = excluded.prev, gone = excluded.gone`
	selectOldGone = `SELECT device FROM device_change WHERE localpart = $1 AND gone ORDER BY pos DESC LIMIT 1000 OFFSET 100`
	deleteChange  = `DELETE FROM device_change WHERE localpart = $1 AND device = $2`

	upsertNews = `INSERT INTO device_news (localpart, device, pos, queued, bytes, dropped) VALUES ($1, $2, $3, 0, 0, 0)
		ON CONFLICT (localpart, device) DO UPDATE SET pos = excluded.pos`
	selectChangedUsers = `SELECT localpart, max(pos) AS last FROM device_change WHERE pos > $1 AND pos <= $2
		GROUP BY localpart ORDER BY last LIMIT $3`
	selectSigned = `SELECT target, pos FROM signature_change WHERE localpart = $1 AND pos > $2 AND pos <= $3 ORDER BY pos LIMIT $4`
)

// DeviceKey is a device's identity keys with its display name.
type DeviceKey struct {
	Device, DisplayName string
	Keys                []byte // canonical JSON
}

// changed logs that the device list of a user has another form for others. localpart is
// the full id of a user of another server.
func changed(tx *Tx, localpart, device string, gone bool) error {
	var prev int64
	if err := tx.Row(selectLastChange, localpart).Scan(&prev); err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	pos := tx.log(localpart, userapi.Entry{Kind: userapi.KindDeviceList, DeviceID: device, Prev: prev, Gone: gone})
	if err := tx.Exec(upsertChange, localpart, device, pos, prev, gone); err != nil || !gone {
		return err
	}
	return forgetGone(tx, localpart)
}

// forgetGone bounds what is kept of the devices that a user once had.
func forgetGone(tx *Tx, localpart string) error {
	old, err := texts(tx, selectOldGone, localpart)
	for _, device := range old {
		if err == nil {
			err = tx.Exec(deleteChange, localpart, device)
		}
	}
	return err
}

// news logs that /sync has something to tell a device of itself.
func news(tx *Tx, localpart, device string) error {
	pos := tx.log(localpart, deviceEntry(device))
	return tx.Exec(upsertNews, localpart, device, pos)
}

func deviceEntry(device string) userapi.Entry {
	return userapi.Entry{Kind: userapi.KindDevice, DeviceID: device}
}

// KeyUpload is what one device uploads. Bounds are the caller's.
type KeyUpload struct {
	Localpart, Device string
	Keys              []byte // nil: none
	// SameIdentity reports whether two identity keys differ in signatures only.
	SameIdentity func(a, b []byte) bool
	OneTime      []OneTimeKey
	Fallback     []OneTimeKey
	// MaxOneTime bounds the unclaimed keys of one algorithm: the oldest ones go.
	// MaxAlgorithms bounds the algorithms.
	MaxOneTime, MaxAlgorithms int64
}

// UploadKeys stores keys and returns the numbers of unclaimed one-time keys.
func (u *Users) UploadKeys(ctx context.Context, up *KeyUpload) (counts map[string]int64, err error) {
	if up.Keys == nil && len(up.OneTime)+len(up.Fallback) == 0 { // clients ask for the numbers so
		err = u.db.Read(ctx, func(r *store.Reader) error {
			counts, err = countOneTime(r, up.Localpart, up.Device)
			return err
		})
		return counts, err
	}
	err = u.write(ctx, func(tx *Tx) error {
		counts, err = uploadKeys(tx, up)
		return err
	})
	return counts, err
}

func uploadKeys(tx *Tx, up *KeyUpload) (map[string]int64, error) {
	if _, err := device(tx, up.Localpart, up.Device); err != nil {
		return nil, err
	}
	if up.Keys != nil {
		if err := setDeviceKey(tx, up); err != nil {
			return nil, err
		}
	}
	before, err := countOneTime(tx, up.Localpart, up.Device)
	if err != nil {
		return nil, err
	}
	if err := addOneTime(tx, up); err != nil {
		return nil, err
	}
	replaced, err := setFallback(tx, up)
	if err != nil {
		return nil, err
	}
	counts, err := countOneTime(tx, up.Localpart, up.Device)
	if err == nil && (replaced || !sameCounts(before, counts)) {
		err = news(tx, up.Localpart, up.Device)
	}
	return counts, err
}

func sameCounts(a, b map[string]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for k, n := range a {
		if b[k] != n {
			return false
		}
	}
	return true
}

// setDeviceKey stores identity keys. A device that got new ones has nothing of what
// belonged to the old ones.
func setDeviceKey(tx *Tx, up *KeyUpload) error {
	var old []byte
	err := tx.Row(selectDeviceKey, up.Localpart, up.Device).Scan(&old)
	if err == nil {
		if string(old) == string(up.Keys) {
			return nil
		}
		if !up.SameIdentity(old, up.Keys) {
			if err := dropIdentity(tx, up.Localpart, up.Device); err != nil {
				return err
			}
		}
	} else if !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if err := keyIDFree(tx, up.Localpart, up.Device); err != nil {
		return err
	}
	if err := tx.Exec(upsertDeviceKey, up.Localpart, up.Device, up.Keys); err != nil {
		return err
	}
	return changed(tx, up.Localpart, up.Device, false)
}

// keyIDFree refuses a device with the name of a cross-signing key ("Key and signature
// security": servers must not allow it).
func keyIDFree(tx *Tx, localpart, device string) error {
	n, err := count(tx, `SELECT count(*) FROM cross_signing_key WHERE localpart = $1 AND id = $2`, localpart, device)
	if err == nil && n > 0 {
		err = merr.Forbidden("The device id is the same as a cross-signing key")
	}
	return err
}

// dropIdentity deletes everything that belongs to a device's identity keys.
func dropIdentity(tx *Tx, localpart, device string) error {
	for _, sql := range []string{
		deleteDeviceKey,
		`DELETE FROM one_time_key WHERE localpart = $1 AND device = $2`,
		`DELETE FROM fallback_key WHERE localpart = $1 AND device = $2`,
	} {
		if err := tx.Exec(sql, localpart, device); err != nil {
			return err
		}
	}
	return dropSignatures(tx, localpart, device)
}

// dropDeviceKeys deletes the keys of a device that is deleted, and its queue.
func dropDeviceKeys(tx *Tx, localpart, device string) error {
	var keys []byte
	err := tx.Row(selectDeviceKey, localpart, device).Scan(&keys)
	had := err == nil
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if err := dropIdentity(tx, localpart, device); err != nil {
		return err
	}
	for _, sql := range []string{
		`DELETE FROM to_device WHERE localpart = $1 AND device = $2`,
		`DELETE FROM to_device_txn WHERE localpart = $1 AND device = $2`,
		`DELETE FROM device_news WHERE localpart = $1 AND device = $2`,
		`DELETE FROM dehydrated_device WHERE localpart = $1 AND device = $2`,
	} {
		if err := tx.Exec(sql, localpart, device); err != nil {
			return err
		}
	}
	if !had {
		return nil
	}
	return changed(tx, localpart, device, true)
}

// renamed logs a change of the display name if others can see the device.
func renamed(tx *Tx, localpart, device string) error {
	var keys []byte
	err := tx.Row(selectDeviceKey, localpart, device).Scan(&keys)
	if errors.Is(err, store.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return changed(tx, localpart, device, false)
}

// ChangedDeviceLists lists the users whose device lists changed at after < pos ≤ upTo
// (0: the head) in the order of the last change, and those whom localpart has signed
// meanwhile. More says that the rest begins after position next.
func (u *Users) ChangedDeviceLists(ctx context.Context, localpart string, after, upTo int64, limit int) (users, signed []string, next int64, more bool, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		head, err := r.Head()
		if err != nil {
			return err
		}
		if upTo == 0 || upTo > head {
			upTo = head
		}
		next = upTo
		cut := func(list []string, at int64) {
			if len(list) == limit {
				next, more = min(next, at), true
			}
		}
		if users, err = readChanged(r, cut, selectChangedUsers, after, upTo, limit); err != nil {
			return err
		}
		signed, err = readChanged(r, cut, selectSigned, localpart, after, upTo, limit)
		return err
	})
	return users, signed, next, more, err
}

func readChanged(r *store.Reader, cut func(list []string, at int64), sql string, args ...any) ([]string, error) {
	rows, err := r.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	var pos int64
	for rows.Next() {
		var s string
		if err := rows.Scan(&s, &pos); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	cut(list, pos)
	return list, rows.Err()
}
