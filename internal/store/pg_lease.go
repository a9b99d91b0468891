package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// leaseWait is how long Open waits for a holder that shows no life.
	leaseWait = 15 * time.Second
	leasePoll = 250 * time.Millisecond
	// lockClass is the first half of the advisory lock's key: "hear".
	lockClass = 0x68656172
)

func (e *postgres) lockKey() int64 {
	h := fnv.New32a()
	h.Write([]byte(e.schema))
	return int64(int32(h.Sum32()))
}

func (e *postgres) tryLock(ctx context.Context) (got bool, err error) {
	err = e.one(ctx, "SELECT pg_try_advisory_lock($1::int4, $2::int4)", []any{lockClass, e.lockKey()}, &got)
	return got, err
}

// lease is the writer's row as another process sees it.
type lease struct {
	epoch, until, now int64
	holder            string
}

func (e *postgres) look(ctx context.Context) (l lease, err error) {
	err = e.one(ctx, `SELECT epoch, until, holder, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
		FROM writer WHERE slot = 0`, nil, &l.epoch, &l.until, &l.holder, &l.now)
	return l, err
}

// acquire takes the advisory lock, which a holder's session keeps as long as it lives.
// If the lock is taken and its holder renews the lease, acquire fails. If the holder's
// lease runs out while the server still keeps its session, acquire ends that session.
func (e *postgres) acquire(ctx context.Context) error {
	deadline := time.Now().Add(leaseWait)
	var seen lease
	for {
		got, err := e.tryLock(ctx)
		if err != nil {
			return fmt.Errorf("store: lock the database: %w", err)
		}
		if got {
			return nil
		}
		l, err := e.look(ctx)
		if err != nil && !undefinedTable(err) && !errors.Is(err, ErrNoRows) {
			return fmt.Errorf("store: read the lease: %w", err)
		}
		alive := seen.epoch != 0 && (l.epoch != seen.epoch || l.until != seen.until)
		if alive || time.Now().After(deadline) {
			return fmt.Errorf("database %s is in use by another hearth process (%s)", e.schema, l.holder)
		}
		seen = l
		if err == nil && l.until < l.now {
			if err := e.endLockHolders(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("database %s is in use by another hearth process (%s): %w", e.schema, l.holder, ctx.Err())
		case <-time.After(leasePoll):
		}
	}
}

// endLockHolders ends the sessions that have the lock. Whoever held the lease must then
// take the lock again before it can write, and finds a higher epoch if somebody else was
// first.
func (e *postgres) endLockHolders(ctx context.Context) error {
	var n int64
	err := e.one(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND classid = $1::int8::oid AND objid = ($2::int8 & 4294967295)::oid AND objsubid = 2
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`,
		[]any{lockClass, e.lockKey()}, &n)
	if err != nil {
		return fmt.Errorf("store: end the session of the last holder: %w", err)
	}
	return nil
}

// between renews the lease if batches that wrote nothing did not.
func (e *postgres) between() error {
	if time.Since(e.renewed) < idlePeriod {
		return nil
	}
	return e.idle()
}

// idle renews the lease. Nothing depends on this commit, so it does not wait for the disk.
func (e *postgres) idle() error {
	ctx, cancel := e.context()
	defer cancel()
	if err := e.begin(); err != nil {
		return err
	}
	e.beginOp(-1)
	if err := e.queue(ctx, "SET LOCAL synchronous_commit = off", nil); err != nil {
		return err
	}
	end, err := e.w.command(ctx, "COMMIT", nil)
	if err == nil {
		_, _, err = e.flush(ctx, e.head, []pgCommand{end})
	}
	if err == nil {
		return nil
	}
	if f := asFault(err); f.scope != scopeSession {
		if undo := e.rollback(); undo != nil {
			return undo
		}
	}
	return err
}

// revive opens a new session. The old one may still be at work on a commit that was
// never answered; it is over when its lock is free, and then the head is read.
func (e *postgres) revive(ctx context.Context) (int64, error) {
	e.hangUp()
	if err := e.connect(ctx); err != nil {
		return 0, err
	}
	for {
		l, err := e.look(ctx)
		if err != nil {
			return 0, err
		}
		if l.epoch != e.epoch {
			return 0, &fault{scope: scopeLease, op: -1, err: fmt.Errorf("%w: held by %s", errLeaseLost, l.holder)}
		}
		got, err := e.tryLock(ctx)
		if err != nil {
			return 0, err
		}
		if got {
			break
		}
		if err := e.endLockHolders(ctx); err != nil { // our own old session: the epoch is ours
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(leasePoll):
		}
	}
	var epoch int64
	if err := e.one(ctx, "SELECT epoch, seq FROM writer WHERE slot = 0", nil, &epoch, &e.head); err != nil {
		return 0, err
	}
	if epoch != e.epoch {
		return 0, &fault{scope: scopeLease, op: -1, err: errLeaseLost}
	}
	return e.head, nil
}

func undefinedTable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000")
}

func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return strings.ToValidUTF8(fmt.Sprintf("pid %d on %s", os.Getpid(), host), "")
}
