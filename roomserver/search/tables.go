package search

import (
	"context"

	"hearth/internal/store"
)

// findInTables searches the tails and blocks of some rooms, up to a position.
func (s *search) findInTables(ctx context.Context, r *store.Reader, rooms []numbered, stored int64) error {
	ids := make(map[int64]string, len(rooms))
	args := make([]any, roomsAtOnce)
	for i := range args {
		n := rooms[min(i, len(rooms)-1)]
		args[i] = n.room
		ids[n.room] = n.id
	}
	if err := s.tails(r, ids, args, stored); err != nil {
		return err
	}
	parts := s.parts()
	query := `SELECT room, low, part, data FROM block WHERE room IN (` + placeholders(1, roomsAtOnce) +
		`) AND part IN (` + placeholders(roomsAtOnce+1, len(parts)) + `) ORDER BY room, low, part`
	rows, err := r.Query(query, append(args, parts...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var now piece
	for rows.Next() {
		var room, low, part int64
		var data []byte
		if err := rows.Scan(&room, &low, &part, &data); err != nil {
			return err
		}
		if room != now.room || low != now.low {
			if err := s.searchBlock(&now, ids[now.room], stored); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			now = piece{room: room, low: low, parts: now.parts[:0]}
		}
		now.parts = append(now.parts, row{part, data})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return s.searchBlock(&now, ids[now.room], stored)
}

// piece is what a search reads of a block.
type piece struct {
	room, low int64
	parts     []row
}

// part returns the part that may hold a term; nil if it was empty.
func (p *piece) part(term uint32) []byte {
	if len(p.parts) < 2 {
		return nil
	}
	wanted := partOf(levelOf(p.parts[1].part), term)
	for _, r := range p.parts[1:] {
		if r.part == wanted {
			return r.data
		}
	}
	return nil
}

func (s *search) tails(r *store.Reader, ids map[int64]string, args []any, stored int64) error {
	rows, err := r.Query(`SELECT room, docs FROM tail WHERE room IN (`+placeholders(1, roomsAtOnce)+`)`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var room int64
		var data []byte
		if err := rows.Scan(&room, &data); err != nil {
			return err
		}
		docs, err := readDocuments(data)
		if err != nil {
			return err
		}
		for i := range docs {
			if docs[i].pos <= stored {
				s.try(ids[room], &docs[i])
			}
		}
	}
	return rows.Err()
}

// parts are the parts of blocks of all sizes that the search reads. The list is padded
// to a few lengths, so that few different statements are prepared.
func (s *search) parts() []any {
	wanted := map[int64]bool{docsPart: true}
	for _, list := range [][]uint32{s.req.Query.terms, s.senders, s.without, s.kinds} {
		for _, term := range list {
			for level := 1; level <= levels; level++ {
				wanted[partOf(level, term)] = true
			}
		}
	}
	list := make([]any, 0, 32)
	for part := range wanted {
		list = append(list, part)
	}
	for n := 8; ; n *= 2 {
		if len(list) <= n {
			for len(list) < n {
				list = append(list, list[0])
			}
			return list
		}
	}
}

// searchBlock finds the documents of a block that match.
func (s *search) searchBlock(p *piece, room string, stored int64) error {
	if len(p.parts) == 0 || p.parts[0].part != docsPart {
		return nil
	}
	var err error
	if s.docs, err = readPlaces(s.docs[:0], p.parts[0].data); err != nil {
		return err
	}
	n := len(s.docs)
	s.score, s.seen = resize(s.score, n), resize(s.seen, n)
	// seen counts how many of the terms a document has held so far.
	for i, term := range s.req.Query.terms {
		found := false
		err := find(p.part(term), term, func(doc, count uint32) {
			if int(doc) < n && s.seen[doc] == uint8(i) {
				s.seen[doc]++
				s.score[doc] += weight(count, s.docs[doc].length)
				found = true
			}
		})
		if err != nil || !found {
			return err
		}
	}
	need := uint8(len(s.req.Query.terms))
	for _, list := range [][]uint32{s.senders, s.kinds} {
		if len(list) == 0 {
			continue
		}
		for _, term := range list {
			err := find(p.part(term), term, func(doc, _ uint32) {
				if int(doc) < n && s.seen[doc] == need {
					s.seen[doc]++
				}
			})
			if err != nil {
				return err
			}
		}
		need++
	}
	for _, term := range s.without {
		err := find(p.part(term), term, func(doc, _ uint32) {
			if int(doc) < n {
				s.seen[doc] = 0
			}
		})
		if err != nil {
			return err
		}
	}
	for i, d := range s.docs {
		if s.seen[i] == need && d.pos <= stored {
			s.hit(room, d.pos, s.score[i])
		}
	}
	return nil
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
