package storage

import (
	"errors"
	"net/http"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// OneTimeKey is a one-time or a fallback key: the JSON of a string or an object.
type OneTimeKey struct {
	Algorithm, ID string
	Keys          []byte
}

const (
	selectOneTime = `SELECT keys FROM one_time_key WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND id = $4`
	insertOneTime = `INSERT INTO one_time_key (localpart, device, algorithm, id, seq, claimed, keys)
		VALUES ($1, $2, $3, $4, $5, FALSE, $6)`
	selectLastSeq = `SELECT max(seq) FROM one_time_key WHERE localpart = $1 AND device = $2`
	dropOneTime   = `UPDATE one_time_key SET claimed = TRUE
		WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND id IN (
			SELECT id FROM one_time_key WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND NOT claimed
			ORDER BY seq DESC, id DESC LIMIT 10000 OFFSET $4)`
	forgetOneTime = `DELETE FROM one_time_key
		WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND id IN (
			SELECT id FROM one_time_key WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND claimed
			ORDER BY seq DESC, id DESC LIMIT 10000 OFFSET $4)`
	countOneTimeKeys = `SELECT algorithm, count(*) FROM one_time_key
		WHERE localpart = $1 AND device = $2 AND NOT claimed GROUP BY algorithm`
	countAlgorithms = `SELECT count(DISTINCT algorithm) FROM one_time_key WHERE localpart = $1 AND device = $2`

	selectFallback = `SELECT id, used, keys FROM fallback_key WHERE localpart = $1 AND device = $2 AND algorithm = $3`
	upsertFallback = `INSERT INTO fallback_key (localpart, device, algorithm, id, used, keys) VALUES ($1, $2, $3, $4, FALSE, $5)
		ON CONFLICT (localpart, device, algorithm) DO UPDATE SET id = excluded.id, used = FALSE, keys = excluded.keys`
	// unused fallback keys
	selectUnused = `SELECT algorithm FROM fallback_key WHERE localpart = $1 AND device = $2 AND NOT used ORDER BY algorithm`
)

// maxClaimed is how many claimed keys of a device and algorithm are remembered.
const maxClaimed = 500

func countOneTime(q store.Queryer, localpart, device string) (map[string]int64, error) {
	rows, err := q.Query(countOneTimeKeys, localpart, device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var algorithm string
		var n int64
		if err := rows.Scan(&algorithm, &n); err != nil {
			return nil, err
		}
		counts[algorithm] = n
	}
	return counts, rows.Err()
}

// addOneTime stores one-time keys. One that is there, claimed or not, must be the same.
func addOneTime(tx *Tx, up *KeyUpload) error {
	if len(up.OneTime) == 0 {
		return nil
	}
	var last *int64
	if err := tx.Row(selectLastSeq, up.Localpart, up.Device).Scan(&last); err != nil {
		return err
	}
	seq := int64(1)
	if last != nil {
		seq = *last + 1
	}
	algorithms := map[string]bool{}
	for _, k := range up.OneTime {
		algorithms[k.Algorithm] = true
		var old []byte
		err := tx.Row(selectOneTime, up.Localpart, up.Device, k.Algorithm, k.ID).Scan(&old)
		switch {
		case err == nil && string(old) == string(k.Keys):
			continue
		case err == nil:
			return merr.New(http.StatusBadRequest, "M_INVALID_PARAM", "One-time key %s:%s already exists with other content", k.Algorithm, k.ID)
		case !errors.Is(err, store.ErrNoRows):
			return err
		}
		if err := tx.Exec(insertOneTime, up.Localpart, up.Device, k.Algorithm, k.ID, seq, k.Keys); err != nil {
			return err
		}
	}
	for algorithm := range algorithms {
		if err := tx.Exec(dropOneTime, up.Localpart, up.Device, algorithm, up.MaxOneTime); err != nil {
			return err
		}
		if err := tx.Exec(forgetOneTime, up.Localpart, up.Device, algorithm, maxClaimed); err != nil {
			return err
		}
	}
	n, err := count(tx, countAlgorithms, up.Localpart, up.Device)
	if err == nil && n > up.MaxAlgorithms {
		err = merr.InvalidParam("A device may have keys of %d algorithms", up.MaxAlgorithms)
	}
	return err
}

// setFallback stores fallback keys. The same key again is as used as it was.
func setFallback(tx *Tx, up *KeyUpload) (replaced bool, err error) {
	for _, k := range up.Fallback {
		var id string
		var used bool
		var old []byte
		err := tx.Row(selectFallback, up.Localpart, up.Device, k.Algorithm).Scan(&id, &used, &old)
		if err == nil && id == k.ID && string(old) == string(k.Keys) {
			continue
		}
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return false, err
		}
		if err := tx.Exec(upsertFallback, up.Localpart, up.Device, k.Algorithm, k.ID, k.Keys); err != nil {
			return false, err
		}
		replaced = true
	}
	if !replaced {
		return false, nil
	}
	n, err := count(tx, `SELECT count(*) FROM fallback_key WHERE localpart = $1 AND device = $2`, up.Localpart, up.Device)
	if err == nil && n > up.MaxAlgorithms {
		err = merr.InvalidParam("A device may have keys of %d algorithms", up.MaxAlgorithms)
	}
	return true, err
}
