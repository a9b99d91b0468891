package storage

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
)

// ToDevice is a message for a device, or for all devices of the user if Device is "*".
type ToDevice struct {
	Localpart, Device string
	Event             []byte // as the device gets it
}

// ToDeviceLimits bound the queue of one device and the memory of transactions.
type ToDeviceLimits struct {
	Messages, Bytes int64
	// Forget is how long a transaction is remembered, in milliseconds.
	Forget int64
}

const (
	insertToDeviceTxn = `INSERT INTO to_device_txn (localpart, device, txn, part, at) VALUES ($1, $2, $3, $4, $5)`
	selectToDeviceTxn = `SELECT at FROM to_device_txn WHERE localpart = $1 AND device = $2 AND txn = $3 AND part = $4`
	deleteToDeviceTxn = `DELETE FROM to_device_txn WHERE (localpart, device, txn, part) IN
		(SELECT localpart, device, txn, part FROM to_device_txn WHERE at < $1 ORDER BY at LIMIT 20)`

	insertToDevice = `INSERT INTO to_device (localpart, device, pos, event) VALUES ($1, $2, $3, $4)`
	upsertQueue    = `INSERT INTO device_news (localpart, device, pos, queued, bytes, dropped) VALUES ($1, $2, $3, 1, $4, 0)
		ON CONFLICT (localpart, device) DO UPDATE SET pos = excluded.pos,
			queued = device_news.queued + 1, bytes = device_news.bytes + excluded.bytes
		RETURNING queued, bytes`
	updateQueue    = `UPDATE device_news SET queued = queued - $3, bytes = bytes - $4, dropped = dropped + $5 WHERE localpart = $1 AND device = $2`
	selectToDevice = `SELECT pos, event FROM to_device WHERE localpart = $1 AND device = $2 AND pos > $3 ORDER BY pos LIMIT $4`
	selectOldest   = `SELECT pos, length(event) FROM to_device WHERE localpart = $1 AND device = $2 AND pos <= $3 ORDER BY pos LIMIT $4`
	deleteToDevice = `DELETE FROM to_device WHERE localpart = $1 AND device = $2 AND pos <= $3`
)

// Dropped says that messages of a device did not fit into its queue.
type Dropped struct {
	Localpart, Device string
	Messages          int64
}

// SendToDevice puts messages into the queues of devices, those that exist, unless the
// device of the sender has done so with the same transaction id and part. Where a
// queue is full the oldest messages go.
func (u *Users) SendToDevice(ctx context.Context, localpart, dev, txn string, part int64, messages []ToDevice, limits ToDeviceLimits) (dropped []Dropped, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		dropped = nil
		if txn != "" {
			done, err := noteTxn(tx, localpart, dev, txn, part, limits)
			if err != nil || done {
				return err
			}
		}
		dropped, err = deliver(tx, messages, limits)
		return err
	})
	return dropped, err
}

const (
	insertRemoteMessage = `INSERT INTO remote_message (origin, message_id, at) VALUES ($1, $2, $3)`
	selectRemoteMessage = `SELECT at FROM remote_message WHERE origin = $1 AND message_id = $2`
	deleteRemoteMessage = `DELETE FROM remote_message WHERE (origin, message_id) IN
		(SELECT origin, message_id FROM remote_message WHERE at < $1 ORDER BY at LIMIT 20)`
)

// SendFromRemote puts messages of another server into the queues of devices, unless it has
// sent them with the same id before.
func (u *Users) SendFromRemote(ctx context.Context, origin, id string, messages []ToDevice, limits ToDeviceLimits) (dropped []Dropped, err error) {
	err = u.write(ctx, func(tx *Tx) error {
		dropped = nil
		var at int64
		switch err := tx.Row(selectRemoteMessage, origin, id).Scan(&at); {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrNoRows):
			return err
		}
		now := tx.Now().UnixMilli()
		if err := tx.Exec(deleteRemoteMessage, now-limits.Forget); err != nil {
			return err
		}
		if err := tx.Exec(insertRemoteMessage, origin, id, now); err != nil {
			return err
		}
		dropped, err = deliver(tx, messages, limits)
		return err
	})
	return dropped, err
}

// deliver puts messages into the queues of the devices that exist.
func deliver(tx *Tx, messages []ToDevice, limits ToDeviceLimits) (dropped []Dropped, err error) {
	known := map[string][]Device{}
	for _, m := range messages {
		targets, err := targets(tx, m, known)
		if err != nil {
			return nil, err
		}
		for _, id := range targets {
			n, err := enqueue(tx, m.Localpart, id, m.Event, limits)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				dropped = append(dropped, Dropped{m.Localpart, id, n})
			}
		}
	}
	return dropped, nil
}

func noteTxn(tx *Tx, localpart, dev, txn string, part int64, limits ToDeviceLimits) (done bool, err error) {
	if _, err := device(tx, localpart, dev); err != nil {
		return false, err
	}
	var at int64
	switch err := tx.Row(selectToDeviceTxn, localpart, dev, txn, part).Scan(&at); {
	case err == nil:
		return true, nil
	case !errors.Is(err, store.ErrNoRows):
		return false, err
	}
	now := tx.Now().UnixMilli()
	if err := tx.Exec(deleteToDeviceTxn, now-limits.Forget); err != nil {
		return false, err
	}
	return false, tx.Exec(insertToDeviceTxn, localpart, dev, txn, part, now)
}

// targets names the devices that a message goes to.
func targets(tx *Tx, m ToDevice, known map[string][]Device) ([]string, error) {
	if m.Device != "*" {
		switch _, err := device(tx, m.Localpart, m.Device); {
		case err == nil:
			return []string{m.Device}, nil
		case errors.Is(err, merr.NotFound("")):
			return nil, nil
		default:
			return nil, err
		}
	}
	list, ok := known[m.Localpart]
	if !ok {
		var err error
		if list, err = devices(tx, m.Localpart); err != nil {
			return nil, err
		}
		known[m.Localpart] = list
	}
	ids := make([]string, len(list))
	for i, d := range list {
		ids[i] = d.ID
	}
	return ids, nil
}

// enqueue adds a message and returns how many it has pushed out.
func enqueue(tx *Tx, localpart, device string, event []byte, limits ToDeviceLimits) (dropped int64, err error) {
	pos := tx.log(localpart, deviceEntry(device))
	if err := tx.Exec(insertToDevice, localpart, device, pos, event); err != nil {
		return 0, err
	}
	var queued, bytes int64
	if err := tx.Row(upsertQueue, localpart, device, pos, int64(len(event))).Scan(&queued, &bytes); err != nil {
		return 0, err
	}
	for queued > limits.Messages || bytes > limits.Bytes {
		// A few at a time: what the last message needs is seldom more than one.
		n, size, err := dropOldest(tx, localpart, device, pos-1, 64, queued-limits.Messages, bytes-limits.Bytes)
		if err != nil || n == 0 {
			return dropped, err
		}
		queued, bytes, dropped = queued-n, bytes-size, dropped+n
		if err := tx.Exec(updateQueue, localpart, device, n, size, n); err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// dropOldest deletes the oldest messages up to a position, at most limit, until the
// given number and bytes are gone.
func dropOldest(tx *Tx, localpart, device string, upTo, limit, messages, bytes int64) (n, size int64, err error) {
	rows, err := tx.Query(selectOldest, localpart, device, upTo, limit)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	last := int64(0)
	for rows.Next() && (n < messages || size < bytes) {
		var length int64
		if err := rows.Scan(&last, &length); err != nil {
			return 0, 0, err
		}
		n, size = n+1, size+length
	}
	if err := rows.Err(); err != nil || n == 0 {
		return 0, 0, err
	}
	return n, size, tx.Exec(deleteToDevice, localpart, device, last)
}

// DeviceSync is what a device is told of itself.
type DeviceSync struct {
	Events [][]byte
	// Last is the position of the last message, After if there is none.
	Last int64
	// More says that there are further messages.
	More bool
	// Counts are the unclaimed one-time keys; Unused the algorithms of unused fallback keys.
	Counts map[string]int64
	Unused []string
	// Pos is the log position at which this is true.
	Pos int64
}

// DeviceSync reads the messages of a device after a position and the state of its keys.
func (u *Users) DeviceSync(ctx context.Context, localpart, device string, after int64, limit, bytes int) (*DeviceSync, error) {
	d := &DeviceSync{Last: after}
	err := u.db.Read(ctx, func(r *store.Reader) (err error) {
		if d.Pos, err = r.Head(); err != nil {
			return err
		}
		if d.Last > d.Pos { // a token of a database that was put back to an older state
			d.Last = 0
		}
		if err := d.readEvents(r, localpart, device, limit, bytes); err != nil {
			return err
		}
		if d.Counts, err = countOneTime(r, localpart, device); err != nil {
			return err
		}
		d.Unused, err = texts(r, selectUnused, localpart, device)
		return err
	})
	return d, err
}

func (d *DeviceSync) readEvents(r *store.Reader, localpart, device string, limit, bytes int) error {
	rows, err := r.Query(selectToDevice, localpart, device, d.Last, limit+1)
	if err != nil {
		return err
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		var pos int64
		var event []byte
		if err := rows.Scan(&pos, &event); err != nil {
			return err
		}
		if size += len(event); len(d.Events) == limit || len(d.Events) > 0 && size > bytes {
			d.More = true
			return nil
		}
		d.Events, d.Last = append(d.Events, event), pos
	}
	return rows.Err()
}

// maxAcknowledged bounds the messages that one transaction deletes.
const maxAcknowledged = 1000

// Acknowledge deletes messages of a device up to a position. It does not wait for the
// deletion: if it fails, the next one will do it. It reads first, so that it costs no
// write if there are none.
func (u *Users) Acknowledge(ctx context.Context, localpart, device string, upTo int64) error {
	var there bool
	err := u.db.Read(ctx, func(r *store.Reader) error {
		var pos, length int64
		head, err := r.Head()
		if err != nil || upTo > head {
			return err
		}
		err = r.Row(selectOldest, localpart, device, upTo, 1).Scan(&pos, &length)
		there = err == nil
		if errors.Is(err, store.ErrNoRows) {
			err = nil
		}
		return err
	})
	if err != nil || !there {
		return err
	}
	return u.db.Submit(store.Op{
		Run: func(tx *store.Tx) error {
			n, size, err := dropOldest(&Tx{Tx: tx}, localpart, device, upTo, maxAcknowledged, maxAcknowledged, 0)
			if err != nil || n == 0 {
				return err
			}
			return tx.Exec(updateQueue, localpart, device, n, size, 0)
		},
		Done: func(error) {},
	})
}

// Queue returns how many messages wait for a device, their bytes, and how many were
// dropped so far.
func (u *Users) Queue(ctx context.Context, localpart, device string) (queued, bytes, dropped int64, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		err := r.Row(`SELECT queued, bytes, dropped FROM device_news WHERE localpart = $1 AND device = $2`, localpart, device).
			Scan(&queued, &bytes, &dropped)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
	return queued, bytes, dropped, err
}
