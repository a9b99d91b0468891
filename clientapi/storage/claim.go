package storage

import (
	"context"
	"fmt"
	"strings"

	"hearth/internal/store"
)

// Claim asks for a key of a device.
type Claim struct{ Localpart, Device, Algorithm string }

// What follows "FROM" in brackets is done for each claim of a batch, with the
// parameters of that claim.
const (
	selectNext = `SELECT id, keys FROM one_time_key WHERE localpart = %s AND device = %s AND algorithm = %s AND NOT claimed
		ORDER BY seq, id LIMIT 1`
	selectSpare = `SELECT id, used, keys FROM fallback_key WHERE localpart = %s AND device = %s AND algorithm = %s`
	setClaimed  = `UPDATE one_time_key SET claimed = TRUE WHERE localpart = $1 AND device = $2 AND algorithm = $3 AND id = $4`
	setUsed     = `UPDATE fallback_key SET used = TRUE WHERE localpart = $1 AND device = $2 AND algorithm = $3`
)

// claimBatch is how many claims are looked up with one statement.
const claimBatch = 50

// ClaimKeys gives out a key for each claim, the oldest one-time key or else the
// fallback key; Keys is nil where there is none. All are given out or none is.
func (u *Users) ClaimKeys(ctx context.Context, claims []Claim) (given []OneTimeKey, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		given = make([]OneTimeKey, len(claims))
		told := map[[2]string]bool{}
		for from := 0; from < len(claims); {
			batch := claims[from:min(len(claims), from+claimBatch)]
			batch = batch[:distinct(batch)]
			changed, err := claimSome(tx, batch, given[from:])
			if err != nil {
				return err
			}
			for i, c := range batch {
				if who := [2]string{c.Localpart, c.Device}; changed[i] && !told[who] {
					told[who] = true
					if err := news(tx, c.Localpart, c.Device); err != nil {
						return err
					}
				}
			}
			from += len(batch)
		}
		return nil
	})
	return given, err
}

// distinct is how many of the claims there are before one that repeats another: it
// must get a key of its own, so it has to wait until the other one is settled.
func distinct(claims []Claim) int {
	seen := make(map[Claim]bool, len(claims))
	for i, c := range claims {
		if seen[c] {
			return i
		}
		seen[c] = true
	}
	return len(claims)
}

// claimSome claims keys of different devices or algorithms and says which of the
// devices have fewer keys now.
func claimSome(tx *Tx, claims []Claim, given []OneTimeKey) (changed []bool, err error) {
	changed = make([]bool, len(claims))
	err = perClaim(tx, selectNext, "id, keys", claims, func(rows *store.Rows) error {
		var i int
		var k OneTimeKey
		if err := rows.Scan(&i, &k.ID, &k.Keys); err != nil {
			return err
		}
		k.Algorithm = claims[i].Algorithm
		given[i], changed[i] = k, true
		return nil
	})
	if err != nil {
		return nil, err
	}
	var rest []Claim
	var at []int
	for i, c := range claims {
		if !changed[i] {
			rest, at = append(rest, c), append(at, i)
		} else if err := tx.Exec(setClaimed, c.Localpart, c.Device, c.Algorithm, given[i].ID); err != nil {
			return nil, err
		}
	}
	if len(rest) == 0 {
		return changed, nil
	}
	return changed, claimSpare(tx, rest, at, given, changed)
}

// claimSpare gives out fallback keys.
func claimSpare(tx *Tx, claims []Claim, at []int, given []OneTimeKey, changed []bool) error {
	err := perClaim(tx, selectSpare, "id, used, keys", claims, func(rows *store.Rows) error {
		var i int
		var used bool
		var k OneTimeKey
		if err := rows.Scan(&i, &k.ID, &used, &k.Keys); err != nil {
			return err
		}
		k.Algorithm = claims[i].Algorithm
		given[at[i]], changed[at[i]] = k, !used
		return nil
	})
	for i, c := range claims {
		if err == nil && changed[at[i]] {
			err = tx.Exec(setUsed, c.Localpart, c.Device, c.Algorithm)
		}
	}
	return err
}

// perClaim runs a query for each claim, all with one statement, whose first column
// is the number of the claim. It has one of two lengths, so that it is prepared no more
// than twice; claims that fill it up name no device.
func perClaim(q store.Queryer, sql, columns string, claims []Claim, f func(rows *store.Rows) error) error {
	length := 1
	if len(claims) > 1 {
		length = claimBatch
	}
	var all strings.Builder
	var args []any
	for i := range length {
		var c Claim
		if i < len(claims) {
			c = claims[i]
		}
		if i > 0 {
			all.WriteString(" UNION ALL ")
		}
		n := len(args)
		one := fmt.Sprintf(sql, fmt.Sprintf("$%d", n+1), fmt.Sprintf("$%d", n+2), fmt.Sprintf("$%d", n+3))
		fmt.Fprintf(&all, "SELECT %d AS claim, %s FROM (%s) AS c%d", i, columns, one, i)
		args = append(args, c.Localpart, c.Device, c.Algorithm)
	}
	rows, err := q.Query(all.String(), args...)
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
