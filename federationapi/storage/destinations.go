package storage

import (
	"context"
	"errors"

	"hearth/internal/store"
)

// Current is Destination.Behind of a server that has got all its events.
const Current = -1

// Destination is what is remembered of a server that we send to. Times are in
// milliseconds; 0: never.
type Destination struct {
	Server   string
	Failures int
	// FailingFrom is the time of the first failure in a row, RetryAt that of the next attempt.
	FailingFrom, RetryAt, LastSuccess int64
	// Behind is the position of the room log up to which the server has got its events,
	// Current if it has got all.
	Behind int64
}

const (
	selectDestinations = `SELECT server, failures, failing_from, retry_at, last_success, behind FROM destination
		WHERE server > $1 ORDER BY server LIMIT $2`
	upsertHealth = `INSERT INTO destination (server, failures, failing_from, retry_at, last_success, behind)
		VALUES ($1, $2, $3, $4, $5, -1) ON CONFLICT (server) DO UPDATE SET failures = excluded.failures,
		failing_from = excluded.failing_from, retry_at = excluded.retry_at, last_success = excluded.last_success`
	upsertBehind = `INSERT INTO destination (server, failures, failing_from, retry_at, last_success, behind)
		VALUES ($1, 0, 0, 0, 0, $2) ON CONFLICT (server) DO UPDATE SET behind = excluded.behind`
	deleteIdle  = `DELETE FROM destination WHERE server = $1 AND failures = 0 AND behind = -1`
	deleteStale = `DELETE FROM destination WHERE behind = -1 AND retry_at < $1
		AND NOT EXISTS (SELECT 1 FROM edu WHERE edu.server = destination.server)`
	insertEvent  = `INSERT INTO destination_event (server, pos) VALUES ($1, $2) ON CONFLICT (server, pos) DO NOTHING`
	selectEvents = `SELECT pos FROM destination_event WHERE server = $1 ORDER BY pos LIMIT $2`
	deleteEvent  = `DELETE FROM destination_event WHERE server = $1 AND pos = $2`
	deleteEvents = `DELETE FROM destination_event WHERE server = $1`
	upsertCursor = `INSERT INTO outbound (one, pos) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET pos = excluded.pos`
	selectCursor = `SELECT pos FROM outbound WHERE one = 1`
)

// Destinations lists what is remembered of servers after one, in order of name.
func (d *DB) Destinations(ctx context.Context, after string, limit int) (out []Destination, err error) {
	err = d.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectDestinations, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s Destination
			if err := rows.Scan(&s.Server, &s.Failures, &s.FailingFrom, &s.RetryAt, &s.LastSuccess, &s.Behind); err != nil {
				return err
			}
			out = append(out, s)
		}
		return rows.Err()
	})
	return out, err
}

// NoteHealth stores how a server does, but for Behind. It does not wait: what a crash
// takes is learnt again.
func (d *DB) NoteHealth(s Destination) error {
	return d.db.Submit(store.Op{Run: func(tx *store.Tx) error {
		if err := tx.Exec(upsertHealth, s.Server, s.Failures, s.FailingFrom, s.RetryAt, s.LastSuccess); err != nil {
			return err
		}
		return tx.Exec(deleteIdle, s.Server)
	}, Done: func(error) {}})
}

// ForgetFailures forgets the failures of servers for which nothing waits and that might have
// been tried again since a time.
func (d *DB) ForgetFailures(ctx context.Context, before int64) error {
	return d.db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(deleteStale, before) })
}

// Progress is a change of what has been sent, made as a whole.
type Progress struct {
	// Cursor, if not nil: up to there all events are sent, or their servers are behind.
	Cursor *int64
	// Behind are new values of Destination.Behind; for who is Current, nothing is remembered any more.
	Behind map[string]int64
	// Extra are events to remember for servers that are behind, Sent those to forget.
	Extra, Sent []ServerEvent
}

// ServerEvent is a position of the room log that is of importance for a server.
type ServerEvent struct {
	Server string
	Pos    int64
}

// WriteProgress stores a change.
func (d *DB) WriteProgress(ctx context.Context, p Progress) error {
	return d.db.Write(ctx, func(tx *store.Tx) error {
		for server, pos := range p.Behind {
			if err := tx.Exec(upsertBehind, server, pos); err != nil {
				return err
			}
			if pos != Current {
				continue
			}
			for _, sql := range []string{deleteIdle, deleteEvents} {
				if err := tx.Exec(sql, server); err != nil {
					return err
				}
			}
		}
		for _, e := range p.Extra {
			if err := tx.Exec(insertEvent, e.Server, e.Pos); err != nil {
				return err
			}
		}
		for _, e := range p.Sent {
			if err := tx.Exec(deleteEvent, e.Server, e.Pos); err != nil {
				return err
			}
		}
		if p.Cursor == nil {
			return nil
		}
		return tx.Exec(upsertCursor, *p.Cursor)
	})
}

// Cursor returns the cursor; known is false if there is none yet.
func (d *DB) Cursor(ctx context.Context) (pos int64, known bool, err error) {
	err = d.db.Read(ctx, func(r *store.Reader) error {
		err := r.Row(selectCursor).Scan(&pos)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		known = err == nil
		return err
	})
	return pos, known, err
}

// ExtraEvents lists events that are remembered for a server, the oldest first.
func (d *DB) ExtraEvents(ctx context.Context, server string, limit int) (out []int64, err error) {
	err = d.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectEvents, server, limit)
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
