package v3

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// readAccountData sets r.data, from the owner if memory has not all.
func (r *round) readAccountData(ctx context.Context, res *core.Result) error {
	if res.AccountCovered {
		if len(res.Account) > 0 {
			r.data = byRoom(nil, res.Account)
		}
		return nil
	}
	after := r.since.User
	if r.initial || r.full {
		after = 0
	}
	var err error
	r.data, err = r.accountAfter(ctx, after)
	return err
}

// accountAfter reads the account data that changed after a position, up to now.
func (r *round) accountAfter(ctx context.Context, after int64) (map[string][]userapi.AccountData, error) {
	list, err := core.ReadAccountData(ctx, r.s.engine.Source(), userapi.ChangedAccountDataRequest{
		UserID: r.req.UserID, After: after, UpTo: r.now.User,
	})
	return byRoom(map[string][]userapi.AccountData{}, list), err
}

func byRoom(m map[string][]userapi.AccountData, list []userapi.AccountData) map[string][]userapi.AccountData {
	if m == nil {
		m = make(map[string][]userapi.AccountData, 1)
	}
	for _, d := range list {
		m[d.RoomID] = append(m[d.RoomID], d)
	}
	return m
}

// roomData returns the account data of a room that is to be told: what changed, or
// all if the room is new to the client, who was told nothing of rooms that he was not in.
func (r *round) roomData(ctx context.Context, roomID string, whole bool) ([]userapi.AccountData, error) {
	if !whole || r.initial || r.full {
		return r.data[roomID], nil
	}
	r.readEvery.Do(func() { r.every, r.everyErr = r.accountAfter(ctx, 0) })
	return r.every[roomID], r.everyErr
}

// appendAccountData appends account data as events with commas between.
func (r *round) appendAccountData(dst []byte, list []userapi.AccountData, f *eventFilter) []byte {
	for i := range list {
		d := &list[i]
		// The sender of account data is its owner.
		if !f.hasType(d.Type) || !f.hasSender(r.req.UserID) {
			continue
		}
		dst = render.AccountData(dst, d)
	}
	return dst
}
