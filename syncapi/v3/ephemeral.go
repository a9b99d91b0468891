package v3

import (
	"context"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// receipts returns the receipts of a change, from the owner if memory has not all.
func (r *round) receipts(ctx context.Context, c *core.Change, whole bool) ([]*roomapi.Receipt, error) {
	if !whole && c.ReceiptsCovered {
		return c.Receipts, nil
	}
	req := roomapi.ReceiptsRequest{RoomID: c.RoomID, UserID: r.req.UserID, UpTo: r.now.Room}
	if !whole {
		req.After = r.since.Room
	}
	return core.ReadReceipts(ctx, r.s.engine.Source(), req)
}
