package storage

import (
	"context"
	"slices"
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
	// Known and Stale are set for users of other servers: there is a list, which may
	// differ from the truth.
	Known, Stale bool
}

// MaxIdentities is how many identities are read at a time.
const MaxIdentities = 50

// Identities reads the keys of at most MaxIdentities users, localparts or full ids of
// users of other servers, as viewer, a localpart or empty, may see them, from one
// snapshot. Every user has an entry.
func (u *Users) Identities(ctx context.Context, viewer string, users []string) (found map[string]*Identity, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		found, err = identities(r, viewer, users)
		return err
	})
	return found, err
}

func identities(q store.Queryer, viewer string, users []string) (map[string]*Identity, error) {
	found := make(map[string]*Identity, len(users))
	var here, elsewhere []string
	for _, user := range users {
		found[user] = &Identity{}
		if remote(user) {
			elsewhere = append(elsewhere, user)
		} else {
			here = append(here, user)
		}
	}
	for some := range slices.Chunk(here, MaxIdentities) {
		if err := readIdentities(q, viewer, some, found); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(elsewhere, MaxIdentities) {
		if err := readRemote(q, viewer, some, found); err != nil {
			return nil, err
		}
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
	if err := crossKeysOf(q, users, found); err != nil {
		return err
	}
	return signaturesOf(q, viewer, users, found)
}

func crossKeysOf(q store.Queryer, users []string, found map[string]*Identity) error {
	var user string
	return eachOf(q, selectCrossOf, users, nil, func(rows *store.Rows) error {
		var k CrossKey
		if err := rows.Scan(&user, &k.Purpose, &k.ID, &k.Keys); err != nil {
			return err
		}
		found[user].Cross = append(found[user].Cross, k)
		return nil
	})
}

func signaturesOf(q store.Queryer, viewer string, users []string, found map[string]*Identity) error {
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
