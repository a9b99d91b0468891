package storage

import (
	"context"
	"encoding/json"
	"strings"

	"hearth/internal/store"
)

const (
	updateSearch    = `UPDATE account SET search = $2 WHERE localpart = $1`
	selectUnindexed = `SELECT a.localpart FROM account a WHERE a.search = '' ORDER BY a.localpart LIMIT $1`
	selectField     = `SELECT value FROM profile WHERE localpart = $1 AND field = 'displayname'`
	searchAccounts  = `SELECT localpart FROM account WHERE search LIKE $1 ESCAPE '\' AND deactivated = $2 AND localpart > $3
		ORDER BY localpart LIMIT $4`
)

// searchText is what a search for users looks at: the localpart and the display name
// (a JSON string, or nil) in small letters.
func searchText(localpart string, displayName []byte) string {
	var shown string
	if err := json.Unmarshal(displayName, &shown); err != nil {
		shown = "" // there is none
	}
	text := strings.ToLower("@" + localpart + " " + shown)
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// Search lists users whose localpart or display name contains a text, in order of
// localpart, after one of them.
func (u *Users) Search(ctx context.Context, text, after string, limit int) (list []string, err error) {
	pattern := "%" + likeEscaper.Replace(strings.ToLower(text)) + "%"
	err = u.db.Read(ctx, func(r *store.Reader) error {
		list, err = texts(r, searchAccounts, pattern, false, after, limit)
		return err
	})
	return list, err
}

// index fills the search text of accounts that are older than it.
func (u *Users) index(ctx context.Context) error {
	const page = 500
	for {
		n := 0
		err := u.db.Write(ctx, func(tx *store.Tx) error {
			list, err := texts(tx, selectUnindexed, page)
			if err != nil {
				return err
			}
			for _, localpart := range list {
				names, err := blobs(tx, selectField, localpart)
				if err != nil {
					return err
				}
				text := searchText(localpart, append(names, nil)[0])
				if err := tx.Exec(updateSearch, localpart, text); err != nil {
					return err
				}
			}
			n = len(list)
			return nil
		})
		if err != nil || n < page {
			return err
		}
	}
}
