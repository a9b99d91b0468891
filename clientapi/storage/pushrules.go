package storage

import (
	"context"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/store"
)

// ChangeAccountData replaces a piece of global data by what change makes of it, which
// is nil where it was never set. If change returns nil, nothing happens.
func (u *Users) ChangeAccountData(ctx context.Context, localpart, kind string, change func(old []byte) ([]byte, error)) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		var old []byte
		var at int64
		err := tx.Row(selectData, localpart, "", kind).Scan(&old, &at)
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return err
		}
		content, err := change(old)
		if err != nil || content == nil {
			return err
		}
		d := &userapi.AccountData{Type: kind, Content: content}
		d.Pos = tx.log(localpart, userapi.Entry{Kind: userapi.KindAccountData, Data: d})
		return tx.Exec(upsertData, d.Pos, localpart, "", kind, content)
	})
}
