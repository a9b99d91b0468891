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
	// The name itself comes first, then names that begin so, then words that do.
	searchAccounts = `SELECT a.localpart FROM account a WHERE a.search LIKE $1 ESCAPE '\' AND a.deactivated = $2 AND a.approved <> $2
		ORDER BY CASE WHEN a.localpart = $3 THEN 0 WHEN a.search LIKE $4 ESCAPE '\' THEN 1
			WHEN a.search LIKE $5 ESCAPE '\' THEN 2 ELSE 3 END, a.localpart
		LIMIT $6 OFFSET $7`
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

// Found is a user with the profile.
type Found struct {
	Localpart string
	Fields    map[string]json.RawMessage
}

// Search lists users whose localpart or display name contains a text, the best first.
func (u *Users) Search(ctx context.Context, text string, limit, skip int) (list []Found, err error) {
	text = strings.ToLower(text)
	like := likeEscaper.Replace(text)
	err = u.db.Read(ctx, func(r *store.Reader) error {
		names, err := texts(r, searchAccounts, "%"+like+"%", false, strings.TrimPrefix(text, "@"),
			"@"+strings.TrimPrefix(like, "@")+"%", "% "+like+"%", limit, skip)
		for _, name := range names {
			fields, err := profile(r, name)
			if err != nil {
				return err
			}
			list = append(list, Found{name, fields})
		}
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
