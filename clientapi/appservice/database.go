package appservice

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// database is the store of application services. Functions that take a transaction
// may run more than once, so they have no effects outside it.
type database struct{ *store.DB }

func openDatabase(ctx context.Context, o store.Options) (database, error) {
	o.Component, o.Migrations, o.Policy, o.Readers = "appservice", migrations, store.Independent, 2
	db, err := store.Open(ctx, o)
	return database{db}, err
}

// reconcile writes which services are configured and returns their numbers in the
// order of rs. What waits for a service that is not configured any more, or that
// wants no traffic, is deleted.
func (db database) reconcile(ctx context.Context, rs []*Registration) (nids []int64, err error) {
	err = db.Write(ctx, func(tx *store.Tx) error {
		nids = make([]int64, len(rs))
		known, err := services(tx)
		if err != nil {
			return err
		}
		var next int64
		for _, s := range known {
			next = max(next, s.nid)
		}
		for i, r := range rs {
			users := interestKey(r)
			s, ok := known[r.ID]
			if !ok {
				next++
				s = serviceRow{nid: next}
				epoch := strconv.FormatInt(tx.Now().UnixMilli(), 36)
				if err := tx.Exec(`INSERT INTO service (id, nid, epoch, txn, users) VALUES ($1, $2, $3, 0, '')`, r.ID, s.nid, epoch); err != nil {
					return err
				}
			}
			delete(known, r.ID)
			nids[i] = s.nid
			if s.users == users {
				continue
			}
			if err := tx.Exec(`UPDATE service SET users = $2 WHERE nid = $1`, s.nid, users); err != nil {
				return err
			}
			if err := count(tx, s.nid, r); err != nil {
				return err
			}
			if r.Encryption { // what was sent to its devices before is to be found
				if err := tx.Exec(`DELETE FROM progress WHERE one = 2`); err != nil {
					return err
				}
			}
		}
		for _, s := range known {
			if err := forget(tx, s.nid, "network_room"); err != nil {
				return err
			}
		}
		for i, r := range rs {
			if r.URL == "" {
				if err := forget(tx, nids[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return nids, err
}

type serviceRow struct {
	nid   int64
	users string
}

func services(q store.Queryer) (map[string]serviceRow, error) {
	rows, err := q.Query(`SELECT id, nid, users FROM service ORDER BY nid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]serviceRow{}
	for rows.Next() {
		var id string
		var s serviceRow
		if err := rows.Scan(&id, &s.nid, &s.users); err != nil {
			return nil, err
		}
		out[id] = s
	}
	return out, rows.Err()
}

// forget deletes what waits for a service, and its rows in more tables.
func forget(tx *store.Tx, nid int64, more ...string) error {
	for _, table := range append([]string{"pending", "txn", "device", "device_list"}, more...) {
		if err := tx.Exec(`DELETE FROM `+table+` WHERE service = $1`, nid); err != nil {
			return err
		}
	}
	return nil
}

// interestKey changes when the users that a service is interested in do.
func interestKey(r *Registration) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", r.Sender)
	for _, n := range r.Users {
		fmt.Fprintf(h, "%q", n.Regex)
	}
	if r.Encryption {
		fmt.Fprint(h, "devices too")
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// countPage is how many rows of joined are read at a time.
const countPage = 2000

// count writes the interest of a service anew, from who is joined.
func count(tx *store.Tx, nid int64, r *Registration) error {
	if err := tx.Exec(`DELETE FROM interest WHERE service = $1`, nid); err != nil {
		return err
	}
	var room, member, counting string
	var members int64
	put := func() error {
		if members == 0 {
			return nil
		}
		return tx.Exec(`INSERT INTO interest (room, service, members) VALUES ($1, $2, $3)`, counting, nid, members)
	}
	for {
		page, err := joinedAfter(tx, room, member)
		if err != nil {
			return err
		}
		for _, row := range page {
			room, member = row.room, row.member
			if room != counting {
				if err := put(); err != nil {
					return err
				}
				counting, members = room, 0
			}
			if r.HasUser(member) {
				members++
			}
		}
		if len(page) < countPage {
			return put()
		}
	}
}

// membership is a user in a room.
type membership struct{ room, member string }

func joinedAfter(q store.Queryer, room, member string) ([]membership, error) {
	rows, err := q.Query(`SELECT room, member FROM joined WHERE (room, member) > ($1, $2) ORDER BY room, member LIMIT $3`, room, member, countPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []membership
	for rows.Next() {
		var m membership
		if err := rows.Scan(&m.room, &m.member); err != nil {
			return nil, err
		}
		page = append(page, m)
	}
	return page, rows.Err()
}

// progress returns the cursor; known is false in a new database.
func (db database) progress(ctx context.Context) (pos, quiet int64, known bool, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT pos, quiet FROM progress WHERE one = 1`).Scan(&pos, &quiet)
	})
	if errors.Is(err, store.ErrNoRows) {
		return 0, 0, false, nil
	}
	return pos, quiet, err == nil, err
}

// rewind sets the cursor to the beginning of the log and forgets what was read of
// it. Nothing that comes up to quiet will be sent.
func (db database) rewind(ctx context.Context, quiet int64) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		for _, table := range []string{"joined", "interest", "pending"} {
			if err := tx.Exec(`DELETE FROM ` + table); err != nil {
				return err
			}
		}
		return tx.Exec(`INSERT INTO progress (one, pos, quiet) VALUES (1, 0, $1)
			ON CONFLICT (one) DO UPDATE SET pos = excluded.pos, quiet = excluded.quiet`, quiet)
	})
}

// members returns how many users of each service are joined to a room, by nid.
func (db database) members(ctx context.Context, room string) (map[int64]int64, error) {
	out := map[int64]int64{}
	err := db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT service, members FROM interest WHERE room = $1`, room)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var nid, n int64
			if err := rows.Scan(&nid, &n); err != nil {
				return err
			}
			out[nid] = n
		}
		return rows.Err()
	})
	return out, err
}

// isJoined reports whether a user was joined to a room at the cursor.
func (db database) isJoined(ctx context.Context, m membership) (bool, error) {
	var one int
	err := db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT 1 FROM joined WHERE room = $1 AND member = $2`, m.room, m.member).Scan(&one)
	})
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// pending returns the first positions that a service waits for.
func (db database) pending(ctx context.Context, nid int64, limit int) ([]int64, error) {
	var out []int64
	err := db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT pos FROM pending WHERE service = $1 ORDER BY pos LIMIT $2`, nid, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var pos int64
			if err := rows.Scan(&pos); err != nil {
				return err
			}
			out = append(out, pos)
		}
		return rows.Err()
	})
	return out, err
}

// transaction is what a service is sent: the same id and body until it confirms.
type transaction struct {
	id   string
	body []byte
}

// inFlight returns the transaction that a service has not confirmed, nil if there is none.
func (db database) inFlight(ctx context.Context, nid int64) (*transaction, error) {
	t := &transaction{}
	err := db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT id, body FROM txn WHERE service = $1`, nid).Scan(&t.id, &t.body)
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// advance stores that the transaction in flight was confirmed, and the next one, nil if
// its content is empty, with what it takes up.
func (db database) advance(ctx context.Context, nid int64, c *content) (next *transaction, err error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	err = db.Write(ctx, func(tx *store.Tx) error {
		next = nil
		if err := tx.Exec(`DELETE FROM txn WHERE service = $1`, nid); err != nil {
			return err
		}
		if err := tx.Exec(`DELETE FROM pending WHERE service = $1 AND pos <= $2`, nid, c.upTo); err != nil {
			return err
		}
		if c.empty() {
			return nil
		}
		if err := c.encryption.write(tx, nid); err != nil {
			return err
		}
		var epoch string
		var n int64
		err := tx.Row(`UPDATE service SET txn = txn + 1 WHERE nid = $1 RETURNING epoch, txn`, nid).Scan(&epoch, &n)
		if err != nil {
			return err
		}
		next = &transaction{id: epoch + "." + strconv.FormatInt(n, 10), body: body}
		return tx.Exec(`INSERT INTO txn (service, id, body) VALUES ($1, $2, $3)`, nid, next.id, body)
	})
	return next, err
}
