package search

import (
	"context"
	"errors"
	"slices"
	"time"

	"hearth/internal/store"
)

// flushAtTimes writes what is in memory every now and then, and once at the end.
func (x *Index) flushAtTimes(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			x.mu.Lock()
			due := !x.fresh.empty() || x.read-x.stored > maxBehind
			x.mu.Unlock()
			if !due {
				continue
			}
		case <-ctx.Done():
		}
		// At the end, what is in memory is worth one more commit: the next start reads less.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if err := x.flush(limited); err != nil {
			x.log.WithError(err).Warn("search: cannot write the index")
		}
		cancel()
	}
}

// flush writes what is in memory in one transaction.
func (x *Index) flush(ctx context.Context) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	if x.read == x.stored {
		x.mu.Unlock()
		return nil
	}
	if x.moving.empty() { // else the last attempt failed: it is made again first
		x.moving, x.fresh = x.fresh, newMemory()
		x.moving.upTo = x.read
	}
	moving := x.moving
	x.mu.Unlock()
	err := x.db.Write(ctx, func(tx *store.Tx) error {
		var cursor int64
		if err := tx.Row(`SELECT cursor FROM progress WHERE slot = 0`).Scan(&cursor); err != nil || cursor >= moving.upTo {
			return err // an attempt that was said to have failed has written it
		}
		if err := moving.write(tx); err != nil {
			return err
		}
		return tx.Exec(`UPDATE progress SET cursor = $1 WHERE slot = 0`, moving.upTo)
	})
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.stored, x.moving = moving.upTo, newMemory()
	x.mu.Unlock()
	return nil
}

func (m *memory) write(tx *store.Tx) error {
	for id, docs := range m.docs {
		if len(docs) == 0 {
			continue
		}
		room, err := number(tx, id, true)
		if err != nil {
			return err
		}
		if err := writeDocuments(tx, room, docs); err != nil {
			return err
		}
	}
	for id, positions := range m.removed {
		room, err := number(tx, id, false)
		if errors.Is(err, store.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		if err := removeDocuments(tx, room, positions); err != nil {
			return err
		}
	}
	return nil
}

// number returns the number of a room, and gives it one if it may.
func number(tx *store.Tx, id string, give bool) (room int64, err error) {
	err = tx.Row(`SELECT room FROM room WHERE id = $1`, id).Scan(&room)
	if !give || !errors.Is(err, store.ErrNoRows) {
		return room, err
	}
	if err := tx.Row(`SELECT COALESCE(MAX(room), 0) + 1 FROM room`).Scan(&room); err != nil {
		return 0, err
	}
	return room, tx.Exec(`INSERT INTO room (room, id) VALUES ($1, $2)`, room, id)
}

// tail is a row of the table tail.
type tail struct {
	room   int64
	n1, n2 int64
	docs   []document
}

func readTail(tx *store.Tx, room int64) (*tail, error) {
	t := &tail{room: room}
	var data []byte
	err := tx.Row(`SELECT n1, n2, docs FROM tail WHERE room = $1`, room).Scan(&t.n1, &t.n2, &data)
	if errors.Is(err, store.ErrNoRows) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	t.docs, err = readDocuments(data)
	return t, err
}

func (t *tail) write(tx *store.Tx) error {
	data := []byte{} // an empty tail is a row too
	before := int64(0)
	for i := range t.docs {
		data = appendDocument(data, &t.docs[i], before)
		before = t.docs[i].pos
	}
	return tx.Exec(`INSERT INTO tail (room, n1, n2, docs) VALUES ($1, $2, $3, $4)
ON CONFLICT (room) DO UPDATE SET n1 = excluded.n1, n2 = excluded.n2, docs = excluded.docs`, t.room, t.n1, t.n2, data)
}

// writeDocuments appends to a room's tail and makes blocks of what is too much for it.
func writeDocuments(tx *store.Tx, room int64, docs []document) error {
	t, err := readTail(tx, room)
	if err != nil {
		return err
	}
	t.docs = append(t.docs, docs...)
	for len(t.docs) >= tailSize {
		if err := insertBlock(tx, room, blockOf(t.docs[:tailSize])); err != nil {
			return err
		}
		t.docs = t.docs[tailSize:]
		if err := t.grow(tx); err != nil {
			return err
		}
	}
	return t.write(tx)
}

// grow counts one more block of the first size and merges when there are enough.
func (t *tail) grow(tx *store.Tx) error {
	if t.n1++; t.n1 < fanout {
		return nil
	}
	t.n1 = 0
	if err := mergeBlocks(tx, t.room, 1); err != nil {
		return err
	}
	if t.n2++; t.n2 < fanout {
		return nil
	}
	t.n2 = 0
	return mergeBlocks(tx, t.room, 2)
}

// mergeBlocks makes one block of the newest blocks of a level. There are fanout of
// them, or fewer if documents were removed.
func mergeBlocks(tx *store.Tx, room int64, level int) error {
	rows, err := tx.Query(`SELECT low, part, data FROM block WHERE room = $1 ORDER BY low DESC, part LIMIT $2`,
		room, fanout*(1+1<<(2*(level-1))))
	if err != nil {
		return err
	}
	found, err := scanBlocks(rows)
	if err != nil {
		return err
	}
	var blocks []*block
	for _, f := range found {
		b, err := readBlock(f.low, f.rows)
		if err != nil {
			return err
		}
		if b.level != level { // an older one of another size
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil
	}
	slices.Reverse(blocks)
	for _, b := range blocks {
		if err := tx.Exec(`DELETE FROM block WHERE room = $1 AND low = $2`, room, b.low); err != nil {
			return err
		}
	}
	return insertBlock(tx, room, merge(blocks))
}

func insertBlock(tx *store.Tx, room int64, b *block) error {
	for _, r := range b.rows() {
		if len(r.data) == 0 {
			continue
		}
		if err := tx.Exec(`INSERT INTO block (room, low, part, data) VALUES ($1, $2, $3, $4)`, room, b.low, r.part, r.data); err != nil {
			return err
		}
	}
	return nil
}

// foundBlock is the rows of one block.
type foundBlock struct {
	low  int64
	rows []row
}

func scanBlocks(rows *store.Rows) ([]foundBlock, error) {
	defer rows.Close()
	var found []foundBlock
	for rows.Next() {
		var low int64
		var r row
		if err := rows.Scan(&low, &r.part, &r.data); err != nil {
			return nil, err
		}
		if n := len(found); n == 0 || found[n-1].low != low {
			found = append(found, foundBlock{low: low})
		}
		last := &found[len(found)-1]
		last.rows = append(last.rows, r)
	}
	return found, rows.Err()
}
