package storage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/store"
)

// A database that was put back to an older copy must not give out one-time keys again
// that were claimed since. The store notices it by a file beside the database that says
// how far the log has come: a database that is behind it, or another one than it names,
// is an older copy. Then all unclaimed keys go, and clients upload new ones; fallback
// keys count as used; and log positions go on behind those that clients have seen, so
// that no token means something else than before.
//
// What this cannot notice is a copy of the database together with the file, and, for
// PostgreSQL, a start on a machine without the file. For these MarkRestored leaves a
// mark that has the same effect at the next start.

const (
	positionFile = "userstore.position"
	restoredFile = "userstore.restored"
	// positionEvery is how often the file is written while the log grows. It may be
	// behind by so much.
	positionEvery = time.Second
	// positionSlack is more than the log can grow in that time.
	positionSlack = 100_000
	// maxSkipped bounds the positions that are passed over.
	maxSkipped = 1 << 30
)

// MarkRestored makes the next start of the store treat the database as an older copy.
func MarkRestored(dataDir string) error {
	if err := os.WriteFile(filepath.Join(dataDir, restoredFile), nil, 0o600); err != nil {
		return fmt.Errorf("mark the user store as restored: %w", err)
	}
	return nil
}

// lastSeen is the content of the file.
type lastSeen struct {
	Incarnation string `json:"incarnation"`
	Position    int64  `json:"position"`
}

// witness keeps the file.
type witness struct {
	dir, incarnation string
	log              *logrus.Entry
	written          int64
	failing          bool
	stop, done       chan struct{}
}

// watch compares the database with the file and then keeps the file.
func (u *Users) watch(ctx context.Context, o store.Options) error {
	id, err := u.incarnation(ctx)
	if err != nil {
		return err
	}
	w := &witness{dir: o.DataDir, incarnation: id, log: o.Log, written: -1, stop: make(chan struct{}), done: make(chan struct{})}
	if w.dir != "" {
		if err := os.MkdirAll(w.dir, 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		skipTo, restored, err := w.older(u.db.Head())
		if err != nil {
			return err
		}
		if restored {
			if err := u.renew(ctx, w, skipTo); err != nil {
				return err
			}
		}
		w.keep(u.db.Head())
		if err := os.Remove(filepath.Join(w.dir, restoredFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the mark of a restored user store: %w", err)
		}
	}
	u.witness = w
	go w.run(u.db.Head)
	return nil
}

// incarnation returns the name of the database; a new one gets one.
func (u *Users) incarnation(ctx context.Context) (id string, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		err := tx.Row(`SELECT id FROM incarnation WHERE slot = 0`).Scan(&id)
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		id = newIncarnation()
		return tx.Exec(`INSERT INTO incarnation (slot, id) VALUES (0, $1)`, id)
	})
	return id, err
}

func newIncarnation() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// older reports whether the database, whose log ends at head, is an older copy, and to
// which position the log should skip.
func (w *witness) older(head int64) (skipTo int64, restored bool, err error) {
	_, err = os.Stat(filepath.Join(w.dir, restoredFile))
	restored = err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, false, fmt.Errorf("mark of a restored user store: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, positionFile))
	if errors.Is(err, os.ErrNotExist) {
		return head + positionSlack, restored, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("position of the user store: %w", err)
	}
	var last lastSeen
	if json.Unmarshal(text, &last) != nil { // the machine stopped while it was written
		return head + positionSlack, restored, nil
	}
	restored = restored || last.Incarnation != w.incarnation || last.Position > head
	return max(head, last.Position) + positionSlack, restored, nil
}

// renew drops what may have been given out since the copy was made, and gives the
// database another name.
func (u *Users) renew(ctx context.Context, w *witness, skipTo int64) error {
	var dropped int64
	id := newIncarnation()
	err := u.write(ctx, func(tx *Tx) error {
		var err error
		if dropped, err = count(tx, `SELECT count(*) FROM one_time_key WHERE NOT claimed`); err != nil {
			return err
		}
		for _, sql := range []string{
			`UPDATE one_time_key SET claimed = TRUE WHERE NOT claimed`,
			`UPDATE fallback_key SET used = TRUE WHERE NOT used`,
		} {
			if err := tx.Exec(sql); err != nil {
				return err
			}
		}
		if err := tx.Exec(`UPDATE incarnation SET id = $1 WHERE slot = 0`, id); err != nil {
			return err
		}
		for pos := tx.Next(); pos < skipTo && pos-u.db.Head() < maxSkipped; {
			pos = tx.Next()
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.incarnation = id
	if w.log != nil {
		w.log.WithField("one_time_keys", dropped).
			Warn("the user store is an older copy: unclaimed one-time keys were dropped, since they may have been given out")
	}
	return nil
}

// run writes the file until close.
func (w *witness) run(head func() int64) {
	defer close(w.done)
	tick := time.NewTicker(positionEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.keep(head())
	}
}

// keep writes the file. The store works without it; only the first of several
// failures is logged.
func (w *witness) keep(head int64) {
	err := w.write(head)
	if err != nil && !w.failing && w.log != nil {
		w.log.WithError(err).Error("the position of the user store cannot be written: an older copy of it may go unnoticed")
	}
	w.failing = err != nil
}

// close ends run and writes the last position.
func (w *witness) close(head int64) {
	close(w.stop)
	<-w.done
	w.keep(head)
}

// write replaces the file if the log has grown. head must be durable.
func (w *witness) write(head int64) error {
	if w.dir == "" || head == w.written {
		return nil
	}
	text, err := json.Marshal(lastSeen{w.incarnation, head})
	if err != nil {
		return err
	}
	name := filepath.Join(w.dir, positionFile)
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return fmt.Errorf("position of the user store: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("position of the user store: %w", err)
	}
	w.written = head
	return nil
}
