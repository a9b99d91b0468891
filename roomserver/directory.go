package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const maxDirectoryPage = 500

// shownInDirectory are the types of state that a room's entry is made of.
var shownInDirectory = map[string]bool{
	"m.room.name": true, "m.room.topic": true, "m.room.canonical_alias": true, "m.room.avatar": true, "m.room.join_rules": true,
	visibilityType: true, "m.room.guest_access": true, "m.room.encryption": true, memberType: true,
}

// entry works out the row of the list of rooms and the directory entry that a batch leaves behind, if the room has
// one and the batch changes it. The number of members is filled in at the commit.
func (b *batch) entry(ctx context.Context) error {
	if err := b.info(ctx); err != nil {
		return err
	}
	if !b.room.published || !slices.ContainsFunc(b.items, func(it *item) bool {
		return it.ev.IsState() && shownInDirectory[it.ev.Type] || it.plan != nil && len(it.plan.delta) > 0
	}) {
		return nil
	}
	row, err := directoryEntry(ctx, b.room.room, b.stateEvent)
	b.rows.Published = row
	return err
}

func directoryEntry(ctx context.Context, r *room, state lookup) (*storage.Published, error) {
	sum, err := summarize(ctx, r, 0, state)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return nil, merr.Internal(err)
	}
	return &storage.Published{Room: r.nid, RoomType: sum.RoomType, Search: searchText(sum), Summary: text}, nil
}

// setPublished puts a room into the directory or takes it out.
func (s *Server) setPublished(ctx context.Context, req *roomapi.SetPublishedRequest) (*roomapi.Empty, error) {
	lr, err := s.lockRoom(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	b := lr.begin()
	if err := b.mayPublish(ctx, req.UserID); err != nil {
		return nil, err
	}
	if lr.published == req.Published {
		return &roomapi.Empty{}, nil
	}
	write := func(tx *store.Tx) error { return storage.Unpublish(tx, lr.nid) }
	if req.Published {
		row, err := directoryEntry(ctx, lr.room, b.stateEvent)
		if err != nil {
			return nil, err
		}
		row.Joined = lr.staged.joined
		write = row.Write
	}
	// The lock is held until the write is done: no change of the room gets in between.
	if err := s.store.DB.Write(ctx, write); err != nil {
		return nil, err
	}
	lr.published = req.Published
	return &roomapi.Empty{}, nil
}

func (b *batch) mayPublish(ctx context.Context, userID string) error {
	if err := b.mustBeJoined(ctx, userID); err != nil {
		return err
	}
	st := &authState{ctx: ctx, b: b}
	levels := auth.LevelsOf(b.room.version, st)
	if st.err != nil {
		return st.err
	}
	if levels.User(userID) < levels.ForEvent("m.room.canonical_alias", true) {
		return merr.Forbidden("You may not change the room's place in the directory")
	}
	return nil
}

// isPublished tells whether a room is in the directory: 404 if we do not know it.
func (s *Server) isPublished(ctx context.Context, req *roomapi.RoomRequest) (*roomapi.Published, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	published, err := s.store.IsPublished(ctx, r.nid)
	return &roomapi.Published{Published: published}, err
}

// publicRooms pages through the directory, the largest room first.
func (s *Server) publicRooms(ctx context.Context, req *roomapi.PublicRoomsRequest) (*roomapi.PublicRoomsResponse, error) {
	page, err := directoryPage(req)
	if err != nil {
		return nil, err
	}
	limit := clamp(req.Limit, 1, maxDirectoryPage, 100)
	page.Limit = limit + 1
	rows, total, err := s.store.Directory(ctx, page)
	if err != nil {
		return nil, err
	}
	more := len(rows) > limit
	rows = rows[:min(limit, len(rows))]
	if page.Reverse {
		slices.Reverse(rows)
	}
	resp := &roomapi.PublicRoomsResponse{Chunk: make([]roomapi.Summary, 0, len(rows)), Total: int(total)}
	bytes := 0
	for _, row := range rows {
		if bytes += len(row.Summary); bytes > maxPageBytes {
			more = true
			break
		}
		var sum roomapi.Summary
		if err := json.Unmarshal(row.Summary, &sum); err != nil {
			return nil, fmt.Errorf("read directory entry of room %d: %w", row.Room, err)
		}
		sum.Joined = int(row.Joined)
		resp.Chunk = append(resp.Chunk, sum)
	}
	if n := len(resp.Chunk); n > 0 {
		resp.Next, resp.Prev = directoryTokens(rows[0], rows[n-1], page, more)
	}
	return resp, nil
}

// directoryTokens are the places after the last and before the first room of a page.
func directoryTokens(first, last storage.Published, page storage.DirectoryPage, more bool) (next, prev string) {
	if more || page.Reverse {
		next = fmt.Sprintf("n%d_%d", last.Joined, last.Room)
	}
	if page.Reverse && more || !page.Reverse && page.Joined != math.MaxInt64 {
		prev = fmt.Sprintf("p%d_%d", first.Joined, first.Room)
	}
	return next, prev
}

func directoryPage(req *roomapi.PublicRoomsRequest) (storage.DirectoryPage, error) {
	page := storage.DirectoryStart
	page.Term = strings.ToLower(req.Term)
	if !storable(page.Term) || len(page.Term) > 1000 {
		return page, merr.InvalidParam("Invalid search term")
	}
	if !req.AnyType {
		page.Types = append([]string{}, req.RoomTypes...)
	}
	if req.Since == "" {
		return page, nil
	}
	joined, room, ok := strings.Cut(req.Since[1:], "_")
	var err1, err2 error
	page.Joined, err1 = strconv.ParseInt(joined, 10, 64)
	page.Room, err2 = strconv.ParseInt(room, 10, 64)
	if !ok || err1 != nil || err2 != nil || req.Since[0] != 'n' && req.Since[0] != 'p' {
		return page, merr.InvalidParam("Invalid pagination token")
	}
	page.Reverse = req.Since[0] == 'p'
	return page, nil
}
