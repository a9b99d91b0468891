package storage

import (
	"context"
	"errors"

	"hearth/internal/store"
)

const (
	selectAnswer = `SELECT answer FROM inbound_txn WHERE origin = $1 AND txn = $2`
	upsertAnswer = `INSERT INTO inbound_txn (origin, txn, answer, at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (origin, txn) DO NOTHING`
	// Of many with the same time all go or stay: that bounds them well enough.
	trimAnswers   = `DELETE FROM inbound_txn WHERE origin = $1 AND at < (SELECT at FROM inbound_txn WHERE origin = $1 ORDER BY at DESC LIMIT 1 OFFSET $2)`
	expireAnswers = `DELETE FROM inbound_txn WHERE (origin, txn) IN (SELECT origin, txn FROM inbound_txn WHERE at < $1 ORDER BY at LIMIT $2)`
	countOld      = `SELECT COUNT(*) FROM inbound_txn WHERE at < $1`
)

// Answer returns what was answered to a transaction of another server; nil if that is not known.
func (d *DB) Answer(ctx context.Context, origin, txn string) (answer []byte, err error) {
	err = d.db.Row(ctx, selectAnswer, origin, txn).Scan(&answer)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	return answer, err
}

// PutAnswer stores the answer to a transaction at a time in milliseconds. Of one origin the
// newest keep are kept.
func (d *DB) PutAnswer(ctx context.Context, origin, txn string, answer []byte, at int64, keep int) error {
	return d.db.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Exec(upsertAnswer, origin, txn, answer, at); err != nil {
			return err
		}
		return tx.Exec(trimAnswers, origin, keep-1)
	})
}

// ExpireAnswers forgets answers from before a time in milliseconds, at most limit at
// once. more says that there are others.
func (d *DB) ExpireAnswers(ctx context.Context, before int64, limit int) (more bool, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		var n int
		if err := tx.Row(countOld, before).Scan(&n); err != nil {
			return err
		}
		more = n > limit
		if n == 0 {
			return nil
		}
		return tx.Exec(expireAnswers, before, limit)
	})
	return more, err
}
