package storage

import (
	"context"
	"strconv"
	"strings"

	"hearth/internal/store"
)

// What follows "IN (" is a list of parameters.
const (
	selectDeviceKeys = `SELECT k.localpart, k.device, k.keys, d.display_name FROM device_key k
		JOIN device d ON d.localpart = k.localpart AND d.device = k.device
		WHERE k.localpart IN (LIST) ORDER BY k.localpart, k.device`
	selectCrossOf = `SELECT localpart, purpose, id, keys FROM cross_signing_key WHERE localpart IN (LIST) ORDER BY localpart, purpose`
	// the signatures on the keys of users that they themselves and $1 made
	selectSignatures = `SELECT target, key, signer, signer_key, signature FROM key_signature
		WHERE target IN (LIST) AND (signer = target OR signer = $1) ORDER BY target, key, signer, signer_key`
)

// Identity is what is known of a user's keys, with the signatures that may be shown
// to somebody.
type Identity struct {
	Devices    []DeviceKey
	Cross      []CrossKey
	Signatures []Signature
}

// MaxIdentities is how many identities are read at a time.
const MaxIdentities = 50

// Identities reads the keys of at most MaxIdentities users as viewer, a localpart or
// empty, may see them, from one snapshot. Every user has an entry.
func (u *Users) Identities(ctx context.Context, viewer string, users []string) (found map[string]*Identity, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		found, err = identities(r, viewer, users)
		return err
	})
	return found, err
}

func identities(q store.Queryer, viewer string, users []string) (map[string]*Identity, error) {
	found := make(map[string]*Identity, len(users))
	for _, localpart := range users {
		found[localpart] = &Identity{}
	}
	for len(users) > 0 {
		n := min(len(users), MaxIdentities)
		if err := readIdentities(q, viewer, users[:n], found); err != nil {
			return nil, err
		}
		users = users[n:]
	}
	return found, nil
}

func readIdentities(q store.Queryer, viewer string, users []string, found map[string]*Identity) error {
	var user string
	err := eachOf(q, selectDeviceKeys, users, nil, func(rows *store.Rows) error {
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
	err = eachOf(q, selectCrossOf, users, nil, func(rows *store.Rows) error {
		var k CrossKey
		if err := rows.Scan(&user, &k.Purpose, &k.ID, &k.Keys); err != nil {
			return err
		}
		found[user].Cross = append(found[user].Cross, k)
		return nil
	})
	if err != nil {
		return err
	}
	return eachOf(q, selectSignatures, users, []any{viewer}, func(rows *store.Rows) error {
		var s Signature
		if err := rows.Scan(&s.Target, &s.Key, &s.Signer, &s.SignerKey, &s.Signature); err != nil {
			return err
		}
		found[s.Target].Signatures = append(found[s.Target].Signatures, s)
		return nil
	})
}

// eachOf runs a query with a list of users after the parameters in args. There are two
// lengths of the list, so that the statement is prepared no more than twice.
func eachOf(q store.Queryer, sql string, users []string, args []any, f func(rows *store.Rows) error) error {
	length := 1
	if len(users) > 1 {
		length = MaxIdentities
	}
	var list strings.Builder
	for i := range length {
		if i > 0 {
			list.WriteByte(',')
		}
		args = append(args, users[min(i, len(users)-1)])
		list.WriteString("$" + strconv.Itoa(len(args)))
	}
	rows, err := q.Query(strings.Replace(sql, "LIST", list.String(), 1), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
