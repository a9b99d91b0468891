package appservice

import (
	"context"
	"strings"

	"hearth/internal/store"
)

// SetNetworkRoom puts a room into the directory of a third-party network of a service,
// or takes it out.
func (s *Service) SetNetworkRoom(ctx context.Context, r *Registration, network, room string, public bool) error {
	nid := s.peerOf(r).nid
	sql := `DELETE FROM network_room WHERE service = $1 AND network = $2 AND room = $3`
	if public {
		sql = `INSERT INTO network_room (service, network, room) VALUES ($1, $2, $3) ON CONFLICT (service, network, room) DO NOTHING`
	}
	return s.db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(sql, nid, network, room) })
}

// NetworkRooms lists the rooms of the instance of a protocol whose id Protocols told,
// or of all instances if instance is empty: those after the room id after, in order
// of id, at most limit.
func (s *Service) NetworkRooms(ctx context.Context, instance, after string, limit int) (rooms []string, err error) {
	if s == nil {
		return nil, nil
	}
	sql, args := `SELECT DISTINCT room FROM network_room WHERE room > $1 ORDER BY room LIMIT $2`, []any{after, limit}
	if instance != "" {
		nid, network, ok := s.instance(instance)
		if !ok {
			return nil, nil
		}
		sql = `SELECT room FROM network_room WHERE service = $1 AND network = $2 AND room > $3 ORDER BY room LIMIT $4`
		args = []any{nid, network, after, limit}
	}
	err = s.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var room string
			if err := rows.Scan(&room); err != nil {
				return err
			}
			rooms = append(rooms, room)
		}
		return rows.Err()
	})
	return rooms, err
}

// instance takes an instance id apart.
func (s *Service) instance(id string) (nid int64, network string, ok bool) {
	for _, p := range s.peers {
		if network, ok := strings.CutPrefix(id, instanceID(p.ID, "")); ok {
			return p.nid, network, true
		}
	}
	return 0, "", false
}
