package storage

import (
	"context"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

// Purposes of cross-signing keys.
const (
	Master      = 1
	SelfSigning = 2
	UserSigning = 3
)

// CrossKey is a cross-signing key. ID is the public key in unpadded base64.
type CrossKey struct {
	Purpose int64
	ID      string
	Keys    []byte // canonical JSON
}

// Signature is a signature that was uploaded by itself. Target and Signer are
// localparts; Target is a full id if it is another server's user. Key is a device or
// a public key.
type Signature struct {
	Target, Key       string
	Signer, SignerKey string
	Signature         string
}

const (
	selectCrossKeys = `SELECT purpose, id, keys FROM cross_signing_key WHERE localpart = $1 ORDER BY purpose`
	upsertCrossKey  = `INSERT INTO cross_signing_key (localpart, purpose, id, keys) VALUES ($1, $2, $3, $4)
		ON CONFLICT (localpart, purpose) DO UPDATE SET id = excluded.id, keys = excluded.keys`
	upsertSignature = `INSERT INTO key_signature (target, key, signer, signer_key, signature) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (target, key, signer, signer_key) DO UPDATE SET signature = excluded.signature`
	selectSignature = `SELECT signature FROM key_signature WHERE target = $1 AND key = $2 AND signer = $3 AND signer_key = $4`
	countSignatures = `SELECT count(*) FROM key_signature WHERE signer = $1`
	upsertSigned    = `INSERT INTO signature_change (localpart, target, pos) VALUES ($1, $2, $3)
		ON CONFLICT (localpart, target) DO UPDATE SET pos = excluded.pos`
)

func crossKeys(q store.Queryer, localpart string) ([]CrossKey, error) {
	rows, err := q.Query(selectCrossKeys, localpart)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []CrossKey
	for rows.Next() {
		var k CrossKey
		if err := rows.Scan(&k.Purpose, &k.ID, &k.Keys); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// SetCrossKeys stores cross-signing keys. check sees those that are there, in the same
// transaction, and may refuse. What was signed with a key that is replaced is undone;
// with a new master key the old keys that are not replaced go.
func (u *Users) SetCrossKeys(ctx context.Context, localpart string, keys []CrossKey, check func(old []CrossKey) error) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		old, err := crossKeys(tx, localpart)
		if err != nil {
			return err
		}
		if err := check(old); err != nil {
			return err
		}
		any := false
		for _, k := range keys {
			set, err := setCrossKey(tx, localpart, k, old)
			if err != nil {
				return err
			}
			any = any || set
		}
		if !any {
			return nil
		}
		return changed(tx, localpart, "", false)
	})
}

func setCrossKey(tx *Tx, localpart string, k CrossKey, old []CrossKey) (set bool, err error) {
	for _, o := range old {
		replaces := o.Purpose == k.Purpose && o.ID != k.ID
		if o.Purpose == k.Purpose && string(o.Keys) == string(k.Keys) {
			return false, nil
		}
		if replaces {
			if err := dropSignatures(tx, localpart, o.ID); err != nil {
				return false, err
			}
		}
		if replaces && k.Purpose == Master {
			for _, of := range old {
				if err := dropSignatures(tx, localpart, of.ID); err != nil {
					return false, err
				}
			}
			if err := tx.Exec(`DELETE FROM cross_signing_key WHERE localpart = $1`, localpart); err != nil {
				return false, err
			}
		}
	}
	switch _, err := device(tx, localpart, k.ID); {
	case err == nil:
		return false, merr.Forbidden("Key ID in use")
	case !errors.Is(err, merr.NotFound("")):
		return false, err
	}
	return true, tx.Exec(upsertCrossKey, localpart, k.Purpose, k.ID, k.Keys)
}

// dropSignatures deletes the signatures on a user's key and those that it made. key is
// a device or a public key.
func dropSignatures(tx *Tx, localpart, key string) error {
	if err := tx.Exec(`DELETE FROM key_signature WHERE target = $1 AND key = $2`, localpart, key); err != nil {
		return err
	}
	return tx.Exec(`DELETE FROM key_signature WHERE signer = $1 AND signer_key = $2`, localpart, "ed25519:"+key)
}

// dropAccountKeys deletes what is left of the encryption of an account without devices.
func dropAccountKeys(tx *Tx, localpart string) error {
	keys, err := crossKeys(tx, localpart)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		`DELETE FROM cross_signing_key WHERE localpart = $1`,
		`DELETE FROM key_signature WHERE target = $1`,
		`DELETE FROM key_signature WHERE signer = $1`,
		`DELETE FROM signature_change WHERE localpart = $1`,
		`DELETE FROM backup_key WHERE localpart = $1`,
		`DELETE FROM backup WHERE localpart = $1`,
		`DELETE FROM dehydrated_device WHERE localpart = $1`,
	} {
		if err := tx.Exec(sql, localpart); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return changed(tx, localpart, "", false)
}

// AddSignatures stores signatures that a user made, at most limit altogether. check
// sees the user's identity in the same transaction and says which ones are good.
func (u *Users) AddSignatures(ctx context.Context, signer string, targets []string, limit int64,
	check func(identities map[string]*Identity) []Signature) error {
	return u.write(ctx, func(tx *Tx) error {
		identities, err := identities(tx, signer, append([]string{signer}, targets...))
		if err != nil {
			return err
		}
		for _, s := range check(identities) {
			if err := addSignature(tx, s); err != nil {
				return err
			}
		}
		n, err := count(tx, countSignatures, signer)
		if err == nil && n > limit {
			err = merr.Forbidden("This account has made too many signatures")
		}
		return err
	})
}

func addSignature(tx *Tx, s Signature) error {
	var old string
	err := tx.Row(selectSignature, s.Target, s.Key, s.Signer, s.SignerKey).Scan(&old)
	if err == nil && old == s.Signature {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if err := tx.Exec(upsertSignature, s.Target, s.Key, s.Signer, s.SignerKey, s.Signature); err != nil {
		return err
	}
	if s.Target != s.Signer {
		pos := tx.log(s.Signer, userapi.Entry{Kind: userapi.KindSignature, Target: s.Target})
		return tx.Exec(upsertSigned, s.Signer, s.Target, pos)
	}
	device := s.Key
	var keys []byte
	if err := tx.Row(selectDeviceKey, s.Signer, s.Key).Scan(&keys); errors.Is(err, store.ErrNoRows) {
		device = "" // a cross-signing key
	} else if err != nil {
		return err
	}
	return changed(tx, s.Signer, device, false)
}
