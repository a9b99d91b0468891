package storage

import "context"

// Seen says when and from where a device was used last.
type Seen struct {
	Localpart, Device, IP string
	At                    int64 // milliseconds
}

const (
	updateSeen = `UPDATE device SET seen = $3, ip = $4 WHERE localpart = $1 AND device = $2 AND seen <= $3`
	forgetSeen = `UPDATE device SET ip = '' WHERE ip <> '' AND seen < $1`
)

// SetSeen notes the use of devices that are still there, and forgets the addresses
// of those that were not used since before (milliseconds).
func (u *Users) SetSeen(ctx context.Context, list []Seen, before int64) error {
	return u.write(ctx, func(tx *Tx) error {
		for _, s := range list {
			if err := tx.Exec(updateSeen, s.Localpart, s.Device, s.At, s.IP); err != nil {
				return err
			}
		}
		return tx.Exec(forgetSeen, before)
	})
}
