package search

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hearth/internal/store"
)

// RemoveEvents takes events out of the index by their log positions, at once and for
// good: what they said is then nowhere in its database. Events that the index does not
// know are no error.
func (x *Index) RemoveEvents(ctx context.Context, roomID string, positions []int64) error {
	return x.change(ctx, "remove events", roomID, func(m *memory) {
		for _, pos := range positions {
			m.drop(roomID, pos)
		}
	}, func(tx *store.Tx, room int64) error { return removeDocuments(tx, room, positions) })
}

// RemoveRoom takes a whole room out of the index.
func (x *Index) RemoveRoom(ctx context.Context, roomID string) error {
	return x.change(ctx, "remove room", roomID, func(m *memory) { delete(m.docs, roomID) }, func(tx *store.Tx, room int64) error {
		for _, q := range []string{`DELETE FROM block WHERE room = $1`, `DELETE FROM tail WHERE room = $1`} {
			if err := tx.Exec(q, room); err != nil {
				return err
			}
		}
		return nil
	})
}

// change alters what is in memory and, in one transaction, what is in the tables.
func (x *Index) change(ctx context.Context, what, roomID string, inMemory func(*memory), inTables func(tx *store.Tx, room int64) error) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	inMemory(&x.fresh)
	inMemory(&x.moving) // left from a failed attempt
	x.mu.Unlock()
	err := x.db.Write(ctx, func(tx *store.Tx) error {
		room, err := number(tx, roomID, false)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return inTables(tx, room)
	})
	if err != nil {
		return fmt.Errorf("search: %s: %w", what, err)
	}
	return nil
}

// reset empties the index.
func (x *Index) reset(ctx context.Context) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	err := x.db.Write(ctx, func(tx *store.Tx) error {
		for _, q := range []string{`DELETE FROM block`, `DELETE FROM tail`, `UPDATE progress SET cursor = 0 WHERE slot = 0`} {
			if err := tx.Exec(q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("search: empty the index: %w", err)
	}
	x.mu.Lock()
	x.fresh, x.moving, x.stored, x.read = newMemory(), newMemory(), 0, 0
	x.mu.Unlock()
	return nil
}

// removeDocuments takes documents out of a room's tail and blocks.
func removeDocuments(tx *store.Tx, room int64, positions []int64) error {
	t, err := readTail(tx, room)
	if err != nil {
		return err
	}
	gone := make(map[int64]bool, len(positions))
	for _, pos := range positions {
		gone[pos] = true
	}
	before := len(t.docs)
	t.docs = slices.DeleteFunc(t.docs, func(d document) bool { return gone[d.pos] })
	if len(t.docs) != before {
		if err := t.write(tx); err != nil {
			return err
		}
	}
	rest := slices.Clone(positions)
	slices.Sort(rest)
	for len(rest) > 0 {
		last := rest[len(rest)-1]
		low, err := removeFromBlock(tx, room, last, gone)
		if err != nil {
			return err
		}
		for len(rest) > 0 && rest[len(rest)-1] >= low { // all that could be in that block
			rest = rest[:len(rest)-1]
		}
	}
	return nil
}

// maxRows is the number of rows that a block has at most.
const maxRows = 1 + 1<<(2*(levels-1))

// removeFromBlock takes documents out of the block that may hold a position, and
// returns where that block begins; the least position if there is none.
func removeFromBlock(tx *store.Tx, room, pos int64, gone map[int64]bool) (low int64, err error) {
	rows, err := tx.Query(`SELECT low, part, data FROM block WHERE room = $1 AND low <= $2 ORDER BY low DESC, part LIMIT $3`, room, pos, maxRows)
	if err != nil {
		return 0, err
	}
	found, err := scanBlocks(rows)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	low = found[0].low
	places, err := readPlaces(nil, found[0].rows[0].data)
	if err != nil || !slices.ContainsFunc(places, func(p place) bool { return gone[p.pos] }) {
		return low, err
	}
	b, err := readBlock(low, found[0].rows)
	if err != nil {
		return 0, err
	}
	b.remove(gone)
	if err := tx.Exec(`DELETE FROM block WHERE room = $1 AND low = $2`, room, low); err != nil {
		return 0, err
	}
	if len(b.docs) == 0 {
		return low, nil
	}
	return low, insertBlock(tx, room, b)
}
