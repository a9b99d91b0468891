package appservice

import (
	"context"
	"errors"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/store"
)

// followUsers reads the user log until ctx ends, for services whose devices encrypt.
func (s *Service) followUsers(ctx context.Context) error {
	for ctx.Err() == nil {
		pos, err := s.db.userProgress(ctx)
		if err == nil {
			f := &userFollower{Service: s, stored: pos, storedAt: time.Now()}
			err = bus.Follow(ctx, s.bus, userapi.Log, pos, f.apply)
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, bus.ErrLog) {
			// Looking at a device once more does no harm.
			s.log.WithError(err).Error("the user log is older than what application services were told; it is read anew")
			err = s.db.rewindUsers(ctx)
		}
		if err != nil {
			s.log.WithError(err).Warn("application services: the user log cannot be read, trying again")
			pause(ctx, followPause)
		}
	}
	return nil
}

// userFollower notes which devices there is something to tell of.
type userFollower struct {
	*Service
	stored   int64
	storedAt time.Time
}

// deviceID names a device.
type deviceID struct{ member, device string }

type deviceNews struct {
	devices map[int64]map[deviceID]int64 // by service: position of the newest
	lists   map[int64]map[string]int64
}

func (f *userFollower) apply(ctx context.Context, entries []bus.Positioned[userapi.Entry]) error {
	n := deviceNews{map[int64]map[deviceID]int64{}, map[int64]map[string]int64{}}
	for _, e := range entries {
		for _, p := range f.peers {
			if p.URL == "" || !p.Encryption {
				continue
			}
			switch {
			case e.Entry.Kind == userapi.KindDevice && p.HasUser(e.Entry.UserID):
				put(n.devices, p.nid, deviceID{e.Entry.UserID, e.Entry.DeviceID}, e.Pos)
			case e.Entry.Kind == userapi.KindDeviceList:
				known, err := f.db.knows(ctx, p, e.Entry.UserID)
				if err != nil {
					return err
				}
				if known {
					put(n.lists, p.nid, e.Entry.UserID, e.Pos)
				}
			}
		}
	}
	last := entries[len(entries)-1].Pos
	if len(n.devices)+len(n.lists) == 0 && last-f.stored < lazyEntries && time.Since(f.storedAt) < lazyTime {
		return nil
	}
	if err := f.db.Write(ctx, func(tx *store.Tx) error { return n.write(tx, last) }); err != nil {
		return err
	}
	f.stored, f.storedAt = last, time.Now()
	for _, p := range f.peers {
		if len(n.devices[p.nid])+len(n.lists[p.nid]) > 0 {
			p.ring()
		}
	}
	return nil
}

func put[K comparable](m map[int64]map[K]int64, service int64, key K, pos int64) {
	if m[service] == nil {
		m[service] = map[K]int64{}
	}
	m[service][key] = pos
}

func (n *deviceNews) write(tx *store.Tx, last int64) error {
	for service, devices := range n.devices {
		for d, pos := range devices {
			err := tx.Exec(`INSERT INTO device (service, member, device, news, sent) VALUES ($1, $2, $3, $4, 0)
				ON CONFLICT (service, member, device) DO UPDATE SET news = excluded.news`, service, d.member, d.device, pos)
			if err != nil {
				return err
			}
		}
	}
	for service, users := range n.lists {
		for user, pos := range users {
			err := tx.Exec(`INSERT INTO device_list (service, member, pos) VALUES ($1, $2, $3)
				ON CONFLICT (service, member) DO UPDATE SET pos = excluded.pos`, service, user, pos)
			if err != nil {
				return err
			}
		}
	}
	return tx.Exec(`INSERT INTO progress (one, pos, quiet) VALUES (2, $1, 0) ON CONFLICT (one) DO UPDATE SET pos = excluded.pos`, last)
}

// userProgress returns the cursor in the user log, 0 at first.
func (db database) userProgress(ctx context.Context) (pos int64, err error) {
	err = db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT pos FROM progress WHERE one = 2`).Scan(&pos)
	})
	if errors.Is(err, store.ErrNoRows) {
		return 0, nil
	}
	return pos, err
}

func (db database) rewindUsers(ctx context.Context) error {
	return db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(`DELETE FROM progress WHERE one = 2`) })
}

// knows reports whether a user is one of a service's or shares a room with one.
func (db database) knows(ctx context.Context, p *peer, user string) (bool, error) {
	if p.HasUser(user) {
		return true, nil
	}
	var one int
	err := db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT 1 FROM joined j JOIN interest i ON i.room = j.room WHERE j.member = $1 AND i.service = $2 LIMIT 1`, user, p.nid).Scan(&one)
	})
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
