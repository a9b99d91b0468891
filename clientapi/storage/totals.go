package storage

import (
	"context"

	"hearth/internal/store"
)

// Totals describe all queues of messages to devices, and the lists of other servers'
// devices.
type Totals struct{ Messages, Bytes, Longest, Lists, Stale int64 }

// Totals counts. It looks at all devices.
func (u *Users) Totals(ctx context.Context) (t Totals, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		err := r.Row(`SELECT CAST(coalesce(sum(queued), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT), coalesce(max(queued), 0)
			FROM device_news WHERE queued > 0`).Scan(&t.Messages, &t.Bytes, &t.Longest)
		if err != nil {
			return err
		}
		if t.Lists, err = count(r, `SELECT count(*) FROM remote_list`); err != nil {
			return err
		}
		t.Stale, err = count(r, `SELECT count(*) FROM remote_list WHERE stale`)
		return err
	})
	return t, err
}
