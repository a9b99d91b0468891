package push

import (
	"context"
	"errors"

	"hearth/internal/bus"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
)

// surroundings answers the conditions of rules.
type surroundings struct {
	ctx            context.Context
	bus            *bus.Bus
	userID, roomID string
	read           func(ctx context.Context, userID, roomID string) (*roomapi.UnreadRoom, error)
	err            error // the first failure
}

func (e *surroundings) room() *roomapi.UnreadRoom {
	u, err := e.read(e.ctx, e.userID, e.roomID)
	if err != nil {
		e.err = errors.Join(e.err, err)
		return &roomapi.UnreadRoom{}
	}
	return u
}

// Members is asked by rules.
func (e *surroundings) Members() int { return e.room().Members }

// MayNotify is asked by rules.
func (e *surroundings) MayNotify(sender, kind string) bool {
	u := e.room()
	p := pushrules.Power{Levels: u.Levels, Creators: u.Creators, Privileged: u.Privileged}
	return p.MayNotify(sender, kind)
}

// DisplayName is asked by rules.
func (e *surroundings) DisplayName() string {
	name, err := memberName(e.ctx, e.bus, e.roomID, e.userID, e.userID)
	e.err = errors.Join(e.err, err)
	return name
}
