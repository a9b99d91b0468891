package storage

import (
	"context"
	"errors"

	"hearth/internal/merr"
)

// MakeDevice makes a device without a token, or renames one that is there; name nil
// leaves its name alone. A user has at most limit devices.
func (u *Users) MakeDevice(ctx context.Context, localpart, id string, name *string, limit int64) (created bool, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		created = false
		if err := active(tx, localpart); err != nil {
			return err
		}
		_, err := device(tx, localpart, id)
		switch {
		case err == nil && name == nil:
			return nil
		case err == nil:
			if err := tx.Exec(updateDevice, localpart, id, *name); err != nil {
				return err
			}
			return renamed(tx, localpart, id)
		case !errors.Is(err, merr.NotFound("")):
			return err
		}
		n, err := count(tx, countDevices, localpart)
		if err != nil {
			return err
		}
		if n >= limit {
			return merr.Forbidden("This account has %d devices, delete some first", n)
		}
		shown := ""
		if name != nil {
			shown = *name
		}
		created = true
		return tx.Exec(insertDevice, localpart, id, shown, tx.Now().UnixMilli())
	})
	return created, err
}
