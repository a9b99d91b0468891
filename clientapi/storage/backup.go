package storage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// Backup is a version of the backup of a user's room keys.
type Backup struct {
	Version    int64
	Algorithm  string
	AuthData   []byte // canonical JSON
	Keys, Etag int64
}

// BackupKey is one key of a backup; Data is the session_data.
type BackupKey struct {
	Room, Session    string
	First, Forwarded int64
	Verified         bool
	Data             []byte // canonical JSON
}

const (
	selectBackup = `SELECT version, algorithm, auth_data, keys, etag FROM backup WHERE localpart = $1 AND version = $2 AND NOT deleted`
	selectLatest = `SELECT version, algorithm, auth_data, keys, etag FROM backup
		WHERE localpart = $1 AND NOT deleted ORDER BY version DESC LIMIT 1`
	selectVersion = `SELECT max(version) FROM backup WHERE localpart = $1`
	insertBackup  = `INSERT INTO backup (localpart, version, algorithm, auth_data, keys, etag, deleted) VALUES ($1, $2, $3, $4, 0, 0, FALSE)`
	updateAuth    = `UPDATE backup SET auth_data = $3 WHERE localpart = $1 AND version = $2`
	updateCounts  = `UPDATE backup SET keys = $3, etag = $4 WHERE localpart = $1 AND version = $2`

	selectBackupKey = `SELECT first, forwarded, verified, data FROM backup_key
		WHERE localpart = $1 AND version = $2 AND room = $3 AND session = $4`
	upsertBackupKey = `INSERT INTO backup_key (localpart, version, room, session, first, forwarded, verified, data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (localpart, version, room, session) DO UPDATE SET
		first = excluded.first, forwarded = excluded.forwarded, verified = excluded.verified, data = excluded.data`
	selectBackupKeys = `SELECT room, session, first, forwarded, verified, data FROM backup_key
		WHERE localpart = $1 AND version = $2 AND (room, session) > ($3, $4) ORDER BY room, session LIMIT $5`
	selectRoomKeys = `SELECT room, session, first, forwarded, verified, data FROM backup_key
		WHERE localpart = $1 AND version = $2 AND room = $3 AND session > $4 ORDER BY room, session LIMIT $5`
)

// UnknownBackup is 404 M_NOT_FOUND.
func UnknownBackup() error { return merr.NotFound("Unknown backup version") }

// CreateBackup makes a new version. The keys of deleted ones are long gone; older
// versions stay until they are deleted, at most limit.
func (u *Users) CreateBackup(ctx context.Context, localpart, algorithm string, authData []byte, limit int64) (version int64, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		var last *int64
		if err := tx.Row(selectVersion, localpart).Scan(&last); err != nil {
			return err
		}
		version = 1
		if last != nil {
			version = *last + 1
		}
		n, err := count(tx, `SELECT count(*) FROM backup WHERE localpart = $1 AND NOT deleted`, localpart)
		if err != nil {
			return err
		}
		if n >= limit {
			return merr.Forbidden("This account has %d backups of room keys, delete some first", n)
		}
		return tx.Exec(insertBackup, localpart, version, algorithm, authData)
	})
	return version, err
}

// Backup returns a version, the latest one if version is 0, or 404.
func (u *Users) Backup(ctx context.Context, localpart string, version int64) (b Backup, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		b, err = backup(r, localpart, version)
		return err
	})
	return b, err
}

func backup(q store.Queryer, localpart string, version int64) (b Backup, err error) {
	row := q.Row(selectLatest, localpart)
	if version != 0 {
		row = q.Row(selectBackup, localpart, version)
	}
	err = row.Scan(&b.Version, &b.Algorithm, &b.AuthData, &b.Keys, &b.Etag)
	if errors.Is(err, store.ErrNoRows) {
		err = UnknownBackup()
	}
	return b, err
}

// SetBackup replaces the auth data of a version; the algorithm must be the same.
func (u *Users) SetBackup(ctx context.Context, localpart string, version int64, algorithm string, authData []byte) error {
	return u.write(ctx, func(tx *Tx) error {
		b, err := backup(tx, localpart, version)
		if err != nil {
			return err
		}
		if b.Algorithm != algorithm {
			return merr.InvalidParam("Algorithm does not match")
		}
		return tx.Exec(updateAuth, localpart, version, authData)
	})
}

// deletedAtOnce bounds the keys that one transaction deletes.
const deletedAtOnce = 2000

// DeleteBackup deletes a version with its keys. One that was deleted earlier is no error.
func (u *Users) DeleteBackup(ctx context.Context, localpart string, version int64) error {
	err := u.write(ctx, func(tx *Tx) error {
		n, err := count(tx, `SELECT count(*) FROM backup WHERE localpart = $1 AND version = $2`, localpart, version)
		if err != nil {
			return err
		}
		if n == 0 {
			return UnknownBackup()
		}
		return tx.Exec(`UPDATE backup SET deleted = TRUE, keys = 0 WHERE localpart = $1 AND version = $2`, localpart, version)
	})
	for more := true; more && err == nil; {
		err = u.write(ctx, func(tx *Tx) error {
			more, err = deleteSomeKeys(tx, localpart, version)
			return err
		})
	}
	return err
}

func deleteSomeKeys(tx *Tx, localpart string, version int64) (more bool, err error) {
	rows, err := tx.Query(`SELECT room, session FROM backup_key WHERE localpart = $1 AND version = $2
		ORDER BY room, session LIMIT 1 OFFSET $3`, localpart, version, deletedAtOnce)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, tx.Exec(`DELETE FROM backup_key WHERE localpart = $1 AND version = $2`, localpart, version)
	}
	var room, session string
	if err := rows.Scan(&room, &session); err != nil {
		return false, err
	}
	return true, tx.Exec(`DELETE FROM backup_key WHERE localpart = $1 AND version = $2 AND (room, session) < ($3, $4)`,
		localpart, version, room, session)
}

// PutBackupKeys stores keys in the current version where they are better than what is
// there ("Server-side key backups"). The version must be the current one.
func (u *Users) PutBackupKeys(ctx context.Context, localpart string, version int64, keys []BackupKey, limit int64) (b Backup, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		if b, err = backup(tx, localpart, 0); err != nil {
			return err
		}
		if b.Version != version {
			return merr.New(http.StatusForbidden, "M_WRONG_ROOM_KEYS_VERSION", "Wrong backup version.").
				With("current_version", strconv.FormatInt(b.Version, 10))
		}
		stored := false
		for i := range keys {
			k := &keys[i]
			var old BackupKey
			err := tx.Row(selectBackupKey, localpart, version, k.Room, k.Session).Scan(&old.First, &old.Forwarded, &old.Verified, &old.Data)
			switch {
			case errors.Is(err, store.ErrNoRows):
				b.Keys++
			case err != nil:
				return err
			case !k.better(&old):
				continue
			}
			stored = true
			if err := tx.Exec(upsertBackupKey, localpart, version, k.Room, k.Session, k.First, k.Forwarded, k.Verified, k.Data); err != nil {
				return err
			}
		}
		if !stored {
			return nil
		}
		if b.Keys > limit {
			return merr.New(http.StatusForbidden, "M_LIMIT_EXCEEDED", "The backup would have more than %d keys", limit)
		}
		b.Etag++
		return tx.Exec(updateCounts, localpart, version, b.Keys, b.Etag)
	})
	return b, err
}

// better reports whether k takes the place of old.
func (k *BackupKey) better(old *BackupKey) bool {
	switch {
	case k.Verified != old.Verified:
		return k.Verified
	case k.First != old.First:
		return k.First < old.First
	default:
		return k.Forwarded < old.Forwarded
	}
}

// BackupKeys returns a page of keys after a place in order of room and session, of one
// room if room is not empty, at most bytes long unless the first key alone is longer.
// More says that there are further ones.
func (u *Users) BackupKeys(ctx context.Context, localpart string, version int64, room string, after [2]string, limit, bytes int) (keys []BackupKey, more bool, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		if _, err := backup(r, localpart, version); err != nil {
			return err
		}
		sql, from := selectBackupKeys, after[0]
		if room != "" {
			sql, from = selectRoomKeys, room
		}
		rows, err := r.Query(sql, localpart, version, from, after[1], limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k BackupKey
			if err := rows.Scan(&k.Room, &k.Session, &k.First, &k.Forwarded, &k.Verified, &k.Data); err != nil {
				return err
			}
			if bytes -= len(k.Data) + len(k.Room) + len(k.Session) + 100; len(keys) == limit || len(keys) > 0 && bytes < 0 {
				more = true
				return nil
			}
			keys = append(keys, k)
		}
		return rows.Err()
	})
	return keys, more, err
}

// BackupKey returns one key, 404 if it or the backup is not there.
func (u *Users) BackupKey(ctx context.Context, localpart string, version int64, room, session string) (BackupKey, error) {
	k := BackupKey{Room: room, Session: session}
	err := u.db.Read(ctx, func(r *store.Reader) error {
		if _, err := backup(r, localpart, version); err != nil {
			return err
		}
		return found(r.Row(selectBackupKey, localpart, version, room, session).Scan(&k.First, &k.Forwarded, &k.Verified, &k.Data), "Key")
	})
	return k, err
}

// DeleteBackupKeys deletes a key, the keys of a room if session is empty, or all if
// room is empty too. Of many keys it deletes some at a time, so that nobody else has to
// wait long.
func (u *Users) DeleteBackupKeys(ctx context.Context, localpart string, version int64, room, session string) (b Backup, err error) {
	where, args := `localpart = $1 AND version = $2`, []any{localpart, version}
	if room != "" {
		where, args = where+` AND room = $3`, append(args, room)
		if session != "" {
			where, args = where+` AND session = $4`, append(args, session)
		}
	}
	for more := true; more && err == nil; {
		err = u.write(ctx, func(tx *Tx) error {
			if b, err = backup(tx, localpart, version); err != nil {
				return err
			}
			more, err = deletePart(tx, &b, localpart, where, args)
			return err
		})
	}
	return b, err
}

// deletePart deletes up to deletedAtOnce of the keys of a backup that a condition on
// args selects, in their order.
func deletePart(tx *Tx, b *Backup, localpart, where string, args []any) (more bool, err error) {
	n, err := count(tx, fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM backup_key WHERE %s LIMIT %d) AS part`, where, deletedAtOnce+1), args...)
	if err != nil || n == 0 {
		return false, err
	}
	if n > deletedAtOnce {
		var room, session string
		next := fmt.Sprintf(`SELECT room, session FROM backup_key WHERE %s ORDER BY room, session LIMIT 1 OFFSET %d`, where, deletedAtOnce)
		if err := tx.Row(next, args...).Scan(&room, &session); err != nil {
			return false, err
		}
		where += fmt.Sprintf(` AND (room, session) < ($%d, $%d)`, len(args)+1, len(args)+2)
		args = append(args[:len(args):len(args)], room, session)
		n, more = deletedAtOnce, true
	}
	b.Keys, b.Etag = b.Keys-n, b.Etag+1
	if err := tx.Exec(`DELETE FROM backup_key WHERE `+where, args...); err != nil {
		return false, err
	}
	return more, tx.Exec(updateCounts, localpart, b.Version, b.Keys, b.Etag)
}
