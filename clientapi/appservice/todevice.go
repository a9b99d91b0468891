package appservice

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
)

const (
	// maxDevices bounds the devices that one transaction tells of, and maxLists the
	// users whose device lists have changed.
	maxDevices = 50
	maxLists   = 500
	// maxToDevice is after how many bytes of messages no other device is looked at.
	maxToDevice = 256 << 10
)

// encryption is what a transaction says for services whose devices encrypt: messages
// to devices (MSC4203), numbers of keys and changed device lists (MSC3202).
type encryption struct {
	toDevice []byte // elements of an array
	counts   map[string]map[string]map[string]int64
	unused   map[string]map[string][]string
	changed  []string

	devices []toldDevice
	lists   int64 // up to which position of the user log changed is complete
}

// toldDevice is a device after a transaction: what has been told of it.
type toldDevice struct {
	deviceID
	sent int64 // position of the last message
	upTo int64 // nothing that happened before is left to tell
}

func (e *encryption) empty() bool { return len(e.devices) == 0 && len(e.changed) == 0 }

// addDevices reads what there is to tell of devices.
func (p *peer) addDevices(ctx context.Context, c *content) error {
	if !p.Encryption {
		return nil
	}
	e := &c.encryption
	if err := p.s.db.changedLists(ctx, p.nid, e); err != nil {
		return err
	}
	waiting, err := p.s.db.deviceNews(ctx, p.nid)
	if err != nil {
		return err
	}
	e.counts, e.unused = map[string]map[string]map[string]int64{}, map[string]map[string][]string{}
	for _, d := range waiting {
		if len(e.toDevice) > maxToDevice {
			break // the rest comes with the next transaction
		}
		if err := p.addDevice(ctx, e, d); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) addDevice(ctx context.Context, e *encryption, d toldDevice) error {
	req := &userapi.DeviceSyncRequest{UserID: d.member, DeviceID: d.device, After: d.sent}
	if p.ownsUser(d.member) {
		req.Acknowledged = d.sent
	}
	news, err := userapi.DeviceSync.Do(ctx, p.s.bus, req)
	if errors.Is(err, merr.NotFound("")) { // the device is gone
		news, err = &userapi.DeviceSyncResponse{Last: d.sent, Pos: d.upTo}, nil
	}
	if err != nil {
		return err
	}
	for _, m := range news.Messages {
		if len(m) < 2 || m[len(m)-1] != '}' {
			continue // the user store makes objects; this cannot happen
		}
		to := append(append([]byte(nil), m[:len(m)-1]...), `,"to_device_id":`...)
		to = pdu.AppendString(append(pdu.AppendString(to, d.device), `,"to_user_id":`...), d.member)
		e.toDevice = append(append(comma(e.toDevice), to...), '}')
	}
	if e.counts[d.member] == nil {
		e.counts[d.member], e.unused[d.member] = map[string]map[string]int64{}, map[string][]string{}
	}
	e.counts[d.member][d.device] = news.OneTimeKeys
	if news.OneTimeKeys == nil {
		e.counts[d.member][d.device] = map[string]int64{}
	}
	e.unused[d.member][d.device] = append([]string{}, news.UnusedFallback...)
	told := toldDevice{d.deviceID, news.Last, news.Pos}
	if news.More {
		told.upTo = 0
	}
	e.devices = append(e.devices, told)
	return nil
}

// put writes the members of the transaction. The names are those of the time before
// the proposals are accepted.
func (e *encryption) put(out []byte) ([]byte, error) {
	if len(e.toDevice) > 0 {
		out = append(append(append(out, `,"de.sorunome.msc2409.to_device":[`...), e.toDevice...), ']')
	}
	for _, m := range []struct {
		name  string
		there bool
		value any
	}{
		{"device_one_time_keys_count", len(e.devices) > 0, e.counts},
		{"device_unused_fallback_key_types", len(e.devices) > 0, e.unused},
		{"device_lists", len(e.changed) > 0, map[string][]string{"changed": e.changed, "left": {}}},
	} {
		if !m.there {
			continue
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		out = append(append(out, `,"org.matrix.msc3202.`+m.name+`":`...), value...)
	}
	return out, nil
}

// write stores what the transaction has told.
func (e *encryption) write(tx *store.Tx, nid int64) error {
	for _, d := range e.devices {
		err := tx.Exec(`UPDATE device SET sent = $4, news = CASE WHEN news <= $5 THEN 0 ELSE news END
			WHERE service = $1 AND member = $2 AND device = $3`, nid, d.member, d.device, d.sent, d.upTo)
		if err != nil {
			return err
		}
	}
	for _, user := range e.changed {
		if err := tx.Exec(`DELETE FROM device_list WHERE service = $1 AND member = $2 AND pos <= $3`, nid, user, e.lists); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge lets messages be deleted that are in a stored transaction, if the service
// alone has their devices. What fails here is done when the device is looked at again.
func (p *peer) acknowledge(ctx context.Context, c *content) {
	for _, d := range c.encryption.devices {
		if d.sent == 0 || !p.ownsUser(d.member) {
			continue
		}
		_, err := userapi.DeviceSync.Do(ctx, p.s.bus, &userapi.DeviceSyncRequest{
			UserID: d.member, DeviceID: d.device, After: d.sent, Acknowledged: d.sent, NoMessages: true,
		})
		if err != nil && !errors.Is(err, merr.NotFound("")) {
			p.log.WithError(err).Debug("messages to a device stay until it is looked at again")
		}
	}
}

// deviceNews lists devices that there is something to tell of, longest waiting first;
// upTo is the position of the newest news.
func (db database) deviceNews(ctx context.Context, nid int64) (out []toldDevice, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT member, device, sent, news FROM device WHERE service = $1 AND news > 0 ORDER BY news LIMIT $2`, nid, maxDevices)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d toldDevice
			if err := rows.Scan(&d.member, &d.device, &d.sent, &d.upTo); err != nil {
				return err
			}
			out = append(out, d)
		}
		return rows.Err()
	})
	return out, err
}

// changedLists reads the users whose device lists have changed.
func (db database) changedLists(ctx context.Context, nid int64, e *encryption) error {
	return db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(`SELECT member, pos FROM device_list WHERE service = $1 ORDER BY pos LIMIT $2`, nid, maxLists)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var user string
			if err := rows.Scan(&user, &e.lists); err != nil {
				return err
			}
			e.changed = append(e.changed, user)
		}
		return rows.Err()
	})
}
