package storage

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	selectDehydrated = `SELECT device, data FROM dehydrated_device WHERE localpart = $1`
	upsertDehydrated = `INSERT INTO dehydrated_device (localpart, device, data) VALUES ($1, $2, $3)
		ON CONFLICT (localpart) DO UPDATE SET device = excluded.device, data = excluded.data`
	insertBareDevice = `INSERT INTO device (localpart, device, display_name, created) VALUES ($1, $2, $3, $4)`
)

// PutDehydrated makes a device without an access token in place of the dehydrated
// device before, with its keys.
func (u *Users) PutDehydrated(ctx context.Context, up *KeyUpload, displayName string, data []byte) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, up.Localpart); err != nil {
			return err
		}
		if _, err := dropDehydrated(tx, up.Localpart); err != nil && !merr.From(err).Is(merr.NotFound("")) {
			return err
		}
		if _, err := device(tx, up.Localpart, up.Device); err == nil {
			return merr.InvalidParam("There is a device with this id")
		} else if !merr.From(err).Is(merr.NotFound("")) {
			return err
		}
		if err := tx.Exec(insertBareDevice, up.Localpart, up.Device, displayName, tx.Now().UnixMilli()); err != nil {
			return err
		}
		if err := tx.Exec(upsertDehydrated, up.Localpart, up.Device, data); err != nil {
			return err
		}
		_, err := uploadKeys(tx, up)
		return err
	})
}

// Dehydrated returns the dehydrated device of a user, 404 M_NOT_FOUND if there is none.
func (u *Users) Dehydrated(ctx context.Context, localpart string) (device string, data []byte, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return found(r.Row(selectDehydrated, localpart).Scan(&device, &data), "Dehydrated device")
	})
	return device, data, err
}

// DeleteDehydrated deletes the dehydrated device and returns its id.
func (u *Users) DeleteDehydrated(ctx context.Context, localpart string) (device string, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		device, err = dropDehydrated(tx, localpart)
		return err
	})
	return device, err
}

func dropDehydrated(tx *Tx, localpart string) (device string, err error) {
	var data []byte
	if err := found(tx.Row(selectDehydrated, localpart).Scan(&device, &data), "Dehydrated device"); err != nil {
		return "", err
	}
	_, err = dropDevice(tx, localpart, device)
	return device, err
}
