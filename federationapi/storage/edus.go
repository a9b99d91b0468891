package storage

import (
	"context"

	"hearth/internal/store"
)

// EDU is an EDU that waits for a server.
type EDU struct {
	Seq  int64
	JSON []byte // the whole EDU
}

const (
	insertEDU  = `INSERT INTO edu (server, seq, type, key, json) VALUES ($1, $2, $3, $4, $5)`
	replaceEDU = `DELETE FROM edu WHERE server = $1 AND type = $2 AND key = $3 AND key <> ''`
	selectEDUs = `SELECT seq, json FROM edu WHERE server = $1 AND seq > $2 ORDER BY seq LIMIT $3`
	deleteEDUs = `DELETE FROM edu WHERE server = $1 AND seq <= $2`
	countEDUs  = `SELECT server, COUNT(*) FROM edu GROUP BY server`
	countOne   = `SELECT COUNT(*) FROM edu WHERE server = $1`
	oldestEDUs = `SELECT seq FROM edu WHERE server = $1 ORDER BY seq LIMIT $2`
)

// AddEDU queues an EDU for servers. One with a key takes the place of older ones of the
// same type and key.
func (d *DB) AddEDU(ctx context.Context, servers []string, json []byte, kind, key string) error {
	return d.db.Write(ctx, func(tx *store.Tx) error {
		for _, server := range servers {
			if key != "" {
				if err := tx.Exec(replaceEDU, server, kind, key); err != nil {
					return err
				}
			}
			if err := tx.Exec(insertEDU, server, tx.Next(), kind, key, json); err != nil {
				return err
			}
		}
		return nil
	})
}

// EDUs returns the EDUs that wait for a server after a number, in order.
func (d *DB) EDUs(ctx context.Context, server string, after int64, limit int) (out []EDU, err error) {
	err = d.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectEDUs, server, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e EDU
			if err := rows.Scan(&e.Seq, &e.JSON); err != nil {
				return err
			}
			out = append(out, e)
		}
		return rows.Err()
	})
	return out, err
}

// DropEDUs forgets the EDUs of a server up to a number.
func (d *DB) DropEDUs(ctx context.Context, server string, upTo int64) error {
	return d.db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(deleteEDUs, server, upTo) })
}

// TrimEDUs forgets the oldest EDUs of a server beyond a number that is kept, and returns
// how many there are then.
func (d *DB) TrimEDUs(ctx context.Context, server string, keep int64) (left int64, err error) {
	err = d.db.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Row(countOne, server).Scan(&left); err != nil || left <= keep {
			return err
		}
		rows, err := tx.Query(oldestEDUs, server, left-keep)
		if err != nil {
			return err
		}
		defer rows.Close()
		last := int64(0)
		for rows.Next() {
			if err := rows.Scan(&last); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		left = keep
		return tx.Exec(deleteEDUs, server, last)
	})
	return left, err
}

// CountEDUs counts the EDUs that wait, by server.
func (d *DB) CountEDUs(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := d.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(countEDUs)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var server string
			var n int64
			if err := rows.Scan(&server, &n); err != nil {
				return err
			}
			out[server] = n
		}
		return rows.Err()
	})
	return out, err
}
