package storage

import "hearth/internal/store"

// Backfill is a part of the past that takes the place of a gap. Its events are stored already,
// as outliers.
type Backfill struct {
	Room   int64
	Gaps   []Gap // those of the room then
	Append       // Names, Events, Snaps, Relations, Redactions, Waiting, Arrived
}

// Write writes the rows.
func (b *Backfill) Write(tx *store.Tx) error {
	if err := tx.Exec(`DELETE FROM gap WHERE room = $1`, b.Room); err != nil {
		return err
	}
	for _, g := range b.Gaps {
		if err := tx.Exec(`INSERT INTO gap (room, ord, snap) VALUES ($1, $2, $3)`, b.Room, g.Ord, g.Snap); err != nil {
			return err
		}
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := tx.Exec(placeEvent, e.Nid, e.Ord, e.Flags, e.Snap, e.Cur, e.Replaces, e.RedactedBy, e.Links); err != nil {
			return err
		}
		if err := tx.Exec(updateBody, e.Nid, e.JSON); err != nil {
			return err
		}
	}
	rest := b.Append
	rest.Room, rest.Events = b.Room, nil
	return rest.Write(tx)
}

const placeEvent = `UPDATE event SET ord = $2, flags = $3, snap = $4, cur = $5, replaces = $6, redacted_by = $7, links = $8 WHERE nid = $1`
