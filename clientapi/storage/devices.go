package storage

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// Device is a row of table device.
type Device struct {
	ID, DisplayName string
	Created         int64  // milliseconds
	Seen            int64  // milliseconds, 0: not known
	IP              string // "": not known
}

const (
	insertDevice = `INSERT INTO device (localpart, device, display_name, created)
		VALUES ($1, $2, $3, $4) ON CONFLICT (localpart, device) DO NOTHING`
	selectDevice  = `SELECT display_name, created, seen, ip FROM device WHERE localpart = $1 AND device = $2`
	selectDevices = `SELECT device, display_name, created, seen, ip FROM device WHERE localpart = $1 ORDER BY device`
	countDevices  = `SELECT count(*) FROM device WHERE localpart = $1`
	updateDevice  = `UPDATE device SET display_name = $3 WHERE localpart = $1 AND device = $2`
	deleteDevice  = `DELETE FROM device WHERE localpart = $1 AND device = $2`
)

// StartSession logs a device in. It replaces the token of a device that is there;
// the hash of the old one is returned.
func (u *Users) StartSession(ctx context.Context, localpart string, s Session) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked = nil
		if err := active(tx, localpart); err != nil {
			return err
		}
		if a, err := account(tx, localpart); err != nil {
			return err
		} else if a.Unapproved {
			return NotApproved()
		}
		revoked, err = startSession(tx, localpart, s)
		return err
	})
	return revoked, err
}

func startSession(tx *Tx, localpart string, s Session) ([][]byte, error) {
	_, err := device(tx, localpart, s.Device)
	switch {
	case err == nil:
	case merr.From(err).Is(merr.NotFound("")):
		n, err := count(tx, countDevices, localpart)
		if err != nil {
			return nil, err
		}
		if n >= s.MaxDevices {
			return nil, merr.Forbidden("This account has %d devices, log out of some first", n)
		}
	default:
		return nil, err
	}
	revoked, err := dropTokens(tx, localpart, s.Device)
	if err != nil {
		return nil, err
	}
	if err := tx.Exec(insertDevice, localpart, s.Device, s.DisplayName, tx.Now().UnixMilli()); err != nil {
		return nil, err
	}
	if s.Refresh != nil {
		if err := tx.Exec(insertRefresh, s.Refresh, localpart, s.Device, refreshInUse, tx.Now().UnixMilli()); err != nil {
			return nil, err
		}
	}
	return revoked, tx.Exec(insertToken, s.Token, localpart, s.Device, s.Expires, false)
}

// Devices lists the devices of a user in order of id.
func (u *Users) Devices(ctx context.Context, localpart string) ([]Device, error) {
	var list []Device
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		list, err = devices(r, localpart)
		return err
	})
	return list, err
}

func devices(q store.Queryer, localpart string) ([]Device, error) {
	rows, err := q.Query(selectDevices, localpart)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Device
	for rows.Next() {
		var d Device
		if err := rows.Scan(&d.ID, &d.DisplayName, &d.Created, &d.Seen, &d.IP); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Device returns one device, 404 M_NOT_FOUND if it is not there.
func (u *Users) Device(ctx context.Context, localpart, id string) (Device, error) {
	var d Device
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		d, err = device(r, localpart, id)
		return err
	})
	return d, err
}

func device(q store.Queryer, localpart, id string) (Device, error) {
	d := Device{ID: id}
	err := q.Row(selectDevice, localpart, id).Scan(&d.DisplayName, &d.Created, &d.Seen, &d.IP)
	return d, found(err, "Device")
}

// SetDevice renames a device, 404 M_NOT_FOUND if it is not there.
func (u *Users) SetDevice(ctx context.Context, localpart, id, displayName string) error {
	return u.write(ctx, func(tx *Tx) error {
		if _, err := device(tx, localpart, id); err != nil {
			return err
		}
		if err := tx.Exec(updateDevice, localpart, id, displayName); err != nil {
			return err
		}
		return renamed(tx, localpart, id)
	})
}

// DeleteDevices deletes the devices that are there and returns the hashes of their tokens.
func (u *Users) DeleteDevices(ctx context.Context, localpart string, ids []string) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		revoked = nil
		for _, id := range ids {
			hashes, err := dropDevice(tx, localpart, id)
			if err != nil {
				return err
			}
			revoked = append(revoked, hashes...)
		}
		return nil
	})
	return revoked, err
}

// DeleteAllDevices deletes every device and returns the hashes of their tokens.
func (u *Users) DeleteAllDevices(ctx context.Context, localpart string) (revoked [][]byte, err error) {
	err = u.write(ctx, func(tx *Tx) (err error) {
		revoked, err = deleteOthers(tx, localpart, "")
		return err
	})
	return revoked, err
}

func deleteOthers(tx *Tx, localpart, keep string) ([][]byte, error) {
	list, err := devices(tx, localpart)
	if err != nil {
		return nil, err
	}
	var revoked [][]byte
	for _, d := range list {
		if d.ID == keep {
			continue
		}
		hashes, err := dropDevice(tx, localpart, d.ID)
		if err != nil {
			return nil, err
		}
		revoked = append(revoked, hashes...)
	}
	return revoked, nil
}

func dropDevice(tx *Tx, localpart, id string) ([][]byte, error) {
	revoked, err := dropTokens(tx, localpart, id)
	if err != nil {
		return nil, err
	}
	if err := dropDeviceKeys(tx, localpart, id); err != nil {
		return nil, err
	}
	return revoked, tx.Exec(deleteDevice, localpart, id)
}
