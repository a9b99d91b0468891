package storage

import (
	"strings"

	"hearth/internal/store"
)

const (
	selectRemoteOf  = `SELECT user_id, stale FROM remote_list WHERE user_id IN (LIST)`
	selectDevicesOf = `SELECT user_id, device, keys, display_name FROM remote_device WHERE user_id IN (LIST) ORDER BY user_id, device`
)

// remote reports whether a name is the full id of a user of another server: localparts
// do not begin with "@".
func remote(user string) bool { return strings.HasPrefix(user, "@") }

// readRemote reads the lists that are kept of users of other servers.
func readRemote(q store.Queryer, viewer string, users []string, found map[string]*Identity) error {
	var user string
	err := eachOf(q, selectRemoteOf, users, nil, func(rows *store.Rows) error {
		var stale bool
		if err := rows.Scan(&user, &stale); err != nil {
			return err
		}
		found[user].Known, found[user].Stale = true, stale
		return nil
	})
	if err != nil {
		return err
	}
	if err := crossKeysOf(q, users, found); err != nil {
		return err
	}
	err = eachOf(q, selectDevicesOf, users, nil, func(rows *store.Rows) error {
		var k DeviceKey
		if err := rows.Scan(&user, &k.Device, &k.Keys, &k.DisplayName); err != nil {
			return err
		}
		found[user].Devices = append(found[user].Devices, k)
		return nil
	})
	if err != nil {
		return err
	}
	return signaturesOf(q, viewer, users, found)
}
