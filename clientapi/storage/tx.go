package storage

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/store"
)

// Line is a new entry of the log. Its UserID is not set: the owner is Localpart.
type Line struct {
	Pos       int64
	Localpart string
	Entry     userapi.Entry
}

// Tx is the writer's transaction with the log entries that it has made.
type Tx struct {
	*store.Tx
	lines []Line
}

// log adds an entry to the log and returns its position. The caller must write a row
// that holds the position, or readers will see an empty entry there.
func (t *Tx) log(localpart string, e userapi.Entry) int64 {
	pos := t.Next()
	t.lines = append(t.lines, Line{pos, localpart, e})
	return pos
}

// write runs an op and waits until it is durable; then its log entries are told. It
// does not end with ctx: what was queued will happen, and the caller should know.
func (u *Users) write(ctx context.Context, run func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var lines []Line
	done := make(chan error, 1)
	err := u.db.Submit(store.Op{
		Run: func(tx *store.Tx) error {
			t := &Tx{Tx: tx}
			err := run(t)
			lines = t.lines
			return err
		},
		Done: func(err error) {
			if err == nil {
				for _, l := range lines {
					u.tell(l)
				}
			}
			done <- err
		},
	})
	if err != nil {
		return err
	}
	return <-done
}
