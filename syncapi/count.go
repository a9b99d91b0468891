package syncapi

import (
	"context"

	"hearth/syncapi/core"
	"hearth/syncapi/unread"
	"hearth/syncapi/viewapi"
)

// counting answers viewapi.Unread.
type counting struct {
	engine  *core.Engine
	counter *unread.Counter
}

func (c *counting) unread(ctx context.Context, req *viewapi.UnreadRequest) (*viewapi.UnreadResponse, error) {
	u, err := c.engine.Acquire(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	defer c.engine.Release(u)
	if err := c.engine.WaitFor(ctx, viewapi.Token{Room: max(req.Pos, u.Loaded())}); err != nil {
		return nil, err
	}
	sum, err := c.counter.Total(ctx, u)
	if err != nil {
		return nil, err
	}
	return &viewapi.UnreadResponse{Notifications: sum.Notifications, Highlights: sum.Highlights}, nil
}
