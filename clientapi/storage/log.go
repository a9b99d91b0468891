package storage

import (
	"cmp"
	"context"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/store"
)

// The tables whose rows are entries of the log.
const (
	logAccountData = `SELECT pos, localpart, room, type, content FROM account_data
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
	logDevices = `SELECT pos, localpart, device FROM device_news
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
	logDeviceLists = `SELECT pos, localpart, device, prev, gone FROM device_change
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
	logSignatures = `SELECT pos, localpart, target FROM signature_change
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
	logThreads = `SELECT pos, localpart, room, thread, subscribed, automatic FROM thread_subscription
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
)

// ReadLog returns up to limit entries of the log after a position, without gaps,
// and the head. userID makes a user id of a localpart.
func (u *Users) ReadLog(ctx context.Context, after int64, limit int, userID func(localpart string) string) ([]bus.Positioned[userapi.Entry], int64, error) {
	var head int64
	var lines []Line
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		if head, err = r.Head(); err != nil {
			return err
		}
		upTo := min(head, after+int64(limit))
		for _, read := range []func(*store.Reader, int64, int64, int) ([]Line, error){
			readAccountData, readDevices, readDeviceLists, readSignatures, readThreads,
		} {
			part, err := read(r, after, upTo, limit)
			if err != nil {
				return err
			}
			lines = append(lines, part...)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.Pos, b.Pos) })
	return contiguous(lines, after, min(head, after+int64(limit)), userID), head, nil
}

// contiguous puts an entry at every position after, …, upTo. It ends earlier where
// the entries become larger than a page.
func contiguous(lines []Line, after, upTo int64, userID func(string) string) []bus.Positioned[userapi.Entry] {
	entries := make([]bus.Positioned[userapi.Entry], 0, max(0, upTo-after))
	size := 0
	for pos := after + 1; pos <= upTo; pos++ {
		e := new(userapi.Entry)
		if len(lines) > 0 && lines[0].Pos == pos {
			*e = lines[0].Entry
			e.UserID = userID(lines[0].Localpart)
			lines = lines[1:]
			if e.Data != nil {
				size += len(e.Data.Content)
			}
			if size > pageBytes && len(entries) > 0 {
				break
			}
		}
		entries = append(entries, bus.Positioned[userapi.Entry]{Pos: pos, Entry: e})
	}
	return entries
}

// readLines reads rows whose first columns are pos and localpart.
func readLines(r *store.Reader, sql string, after, upTo int64, limit int, scan func(rows *store.Rows, l *Line) error) ([]Line, error) {
	rows, err := r.Query(sql, after, upTo, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var lines []Line
	for rows.Next() {
		var l Line
		if err := scan(rows, &l); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, rows.Err()
}

func readAccountData(r *store.Reader, after, upTo int64, limit int) ([]Line, error) {
	return readLines(r, logAccountData, after, upTo, limit, func(rows *store.Rows, l *Line) error {
		var content []byte
		d := &userapi.AccountData{}
		err := rows.Scan(&l.Pos, &l.Localpart, &d.RoomID, &d.Type, &content)
		d.Content, d.Pos = content, l.Pos
		l.Entry = userapi.Entry{Kind: userapi.KindAccountData, Data: d}
		return err
	})
}

func readDevices(r *store.Reader, after, upTo int64, limit int) ([]Line, error) {
	return readLines(r, logDevices, after, upTo, limit, func(rows *store.Rows, l *Line) error {
		l.Entry.Kind = userapi.KindDevice
		return rows.Scan(&l.Pos, &l.Localpart, &l.Entry.DeviceID)
	})
}

func readDeviceLists(r *store.Reader, after, upTo int64, limit int) ([]Line, error) {
	return readLines(r, logDeviceLists, after, upTo, limit, func(rows *store.Rows, l *Line) error {
		l.Entry.Kind = userapi.KindDeviceList
		return rows.Scan(&l.Pos, &l.Localpart, &l.Entry.DeviceID, &l.Entry.Prev, &l.Entry.Gone)
	})
}

func readSignatures(r *store.Reader, after, upTo int64, limit int) ([]Line, error) {
	return readLines(r, logSignatures, after, upTo, limit, func(rows *store.Rows, l *Line) error {
		l.Entry.Kind = userapi.KindSignature
		return rows.Scan(&l.Pos, &l.Localpart, &l.Entry.Target)
	})
}

func readThreads(r *store.Reader, after, upTo int64, limit int) ([]Line, error) {
	return readLines(r, logThreads, after, upTo, limit, func(rows *store.Rows, l *Line) error {
		t := &userapi.ThreadSubscription{}
		err := rows.Scan(&l.Pos, &l.Localpart, &t.RoomID, &t.ThreadID, &t.Subscribed, &t.Automatic)
		t.Pos = l.Pos
		l.Entry = userapi.Entry{Kind: userapi.KindThread, Thread: t}
		return err
	})
}
