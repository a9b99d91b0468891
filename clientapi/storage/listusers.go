package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"hearth/internal/store"
)

// UserQuery filters and orders accounts; nil takes both.
type UserQuery struct {
	Text, Localpart                               string // parts
	Guests, Deactivated, Admins, Approved, Locked *bool
	Order                                         string // a key of orders
	Backwards                                     bool
	From, Limit                                   int
}

// ListedAccount is an account with what lists show of it.
type ListedAccount struct {
	Account
	DisplayName, AvatarURL string
	Seen                   int64
}

// orders are the expressions by which accounts may be ordered.
var orders = map[string]string{
	"name": "a.localpart", "displayname": "d.value", "creation_ts": "a.created", "admin": "a.admin",
	"deactivated": "a.deactivated", "is_guest": "a.guest", "shadow_banned": "a.shadow_banned", "approved": "a.approved",
	"avatar_url": "v.value", "last_seen_ts": "seen",
}

// KnownOrder reports whether accounts may be ordered so.
func KnownOrder(order string) bool { return orders[order] != "" }

const listColumns = `a.localpart, a.password, a.admin, a.deactivated, a.created, a.guest, a.approved, a.erased, a.locked, a.suspended,
	a.shadow_banned, a.role, d.value, v.value, COALESCE((SELECT MAX(e.seen) FROM device e WHERE e.localpart = a.localpart), 0) AS seen`

const listFrom = ` FROM account a
	LEFT JOIN profile d ON d.localpart = a.localpart AND d.field = 'displayname'
	LEFT JOIN profile v ON v.localpart = a.localpart AND v.field = 'avatar_url'`

// List lists accounts, and counts all that fit.
func (u *Users) List(ctx context.Context, q UserQuery) (list []ListedAccount, total int64, err error) {
	where, args := q.where()
	direction := ""
	if q.Backwards {
		direction = " DESC"
	}
	order := orders[q.Order]
	if order == "" {
		return nil, 0, fmt.Errorf("storage: accounts cannot be ordered by %q", q.Order)
	}
	err = u.db.Read(ctx, func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*) FROM account a`+where, args...).Scan(&total); err != nil {
			return err
		}
		n := len(args)
		rows, err := r.Query(fmt.Sprintf(`SELECT %s%s%s ORDER BY %s%s, a.localpart LIMIT $%d OFFSET $%d`,
			listColumns, listFrom, where, order, direction, n+1, n+2), append(args, q.Limit, q.From)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			a, err := scanListed(rows)
			if err != nil {
				return err
			}
			list = append(list, a)
		}
		return rows.Err()
	})
	return list, total, err
}

func scanListed(rows *store.Rows) (a ListedAccount, err error) {
	var approved bool
	var name, avatar []byte
	err = rows.Scan(&a.Localpart, &a.Password, &a.Admin, &a.Deactivated, &a.Created, &a.Guest, &approved, &a.Erased, &a.Locked,
		&a.Suspended, &a.ShadowBanned, &a.Role, &name, &avatar, &a.Seen)
	a.Unapproved = !approved
	a.DisplayName, a.AvatarURL = text(name), text(avatar)
	return a, err
}

// text reads a JSON string; "" if it is none.
func text(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func (q *UserQuery) where() (string, []any) {
	var parts []string
	var args []any
	add := func(part string, arg any) {
		args = append(args, arg)
		parts = append(parts, fmt.Sprintf(part, len(args)))
	}
	for _, f := range []struct {
		column string
		value  *bool
	}{{"guest", q.Guests}, {"deactivated", q.Deactivated}, {"admin", q.Admins}, {"approved", q.Approved}, {"locked", q.Locked}} {
		if f.value != nil {
			add("a."+f.column+" = $%d", *f.value)
		}
	}
	if q.Text != "" {
		add(`a.search LIKE $%d ESCAPE '\'`, "%"+likeEscaper.Replace(strings.ToLower(q.Text))+"%")
	}
	if q.Localpart != "" {
		add(`a.localpart LIKE $%d ESCAPE '\'`, "%"+likeEscaper.Replace(strings.ToLower(q.Localpart))+"%")
	}
	if len(parts) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(parts, " AND "), args
}

// AllAccountData calls each with every piece of a user's account data; room is empty for the
// global.
func (u *Users) AllAccountData(ctx context.Context, localpart string, each func(room, typ string, content []byte)) error {
	return u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT room, type, content FROM account_data WHERE localpart = $1 ORDER BY room, type`, localpart)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var room, typ string
			var content []byte
			if err := rows.Scan(&room, &typ, &content); err != nil {
				return err
			}
			each(room, typ, content)
		}
		return rows.Err()
	})
}
