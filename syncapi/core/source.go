package core

import (
	"context"
	"errors"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Source is what syncapi asks of the owners of rooms and users. Errors are *merr.Error
// or the context's.
type Source interface {
	Window(ctx context.Context, req *roomapi.WindowRequest) (*roomapi.Window, error)
	State(ctx context.Context, req *roomapi.StateRequest, f func(*roomapi.Event) error) error
	StateEvent(ctx context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error)
	InviteState(ctx context.Context, req *roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error)
	Receipts(ctx context.Context, req *roomapi.ReceiptsRequest) (*roomapi.ReceiptsResponse, error)
	Memberships(ctx context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error)
	AccountData(ctx context.Context, req *userapi.ChangedAccountDataRequest) (*userapi.ChangedAccountDataResponse, error)
	AccountDataOf(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error)
	Messages(ctx context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error)
	// Heads returns the owners' head positions.
	Heads(ctx context.Context) (rooms, users int64, err error)
}

// Owners is the Source that asks over the bus. Questions that failed for a
// temporary reason are asked again a few times.
type Owners struct{ Bus *bus.Bus }

var _ Source = Owners{}

// Window reads a window whole.
func (o Owners) Window(ctx context.Context, req *roomapi.WindowRequest) (w *roomapi.Window, err error) {
	err = again(ctx, func() error { w, err = roomapi.ReadWindow(ctx, o.Bus, req); return err })
	return w, err
}

// State hands each event of a state to f. It does not ask again: f may have had a part.
func (o Owners) State(ctx context.Context, req *roomapi.StateRequest, f func(*roomapi.Event) error) error {
	return roomapi.ReadEvents(ctx, o.Bus, req, f)
}

// StateEvent reads one event of the state.
func (o Owners) StateEvent(ctx context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error) {
	return ask(ctx, o.Bus, roomapi.GetStateEvent, req)
}

// InviteState reads the stripped state of an invite or a knock.
func (o Owners) InviteState(ctx context.Context, req *roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error) {
	return ask(ctx, o.Bus, roomapi.InviteState, req)
}

// Receipts reads a page of receipts.
func (o Owners) Receipts(ctx context.Context, req *roomapi.ReceiptsRequest) (*roomapi.ReceiptsResponse, error) {
	return ask(ctx, o.Bus, roomapi.Receipts, req)
}

// Memberships reads a page of a user's rooms.
func (o Owners) Memberships(ctx context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
	return ask(ctx, o.Bus, roomapi.Memberships, req)
}

// AccountData reads a page of changed account data.
func (o Owners) AccountData(ctx context.Context, req *userapi.ChangedAccountDataRequest) (*userapi.ChangedAccountDataResponse, error) {
	return ask(ctx, o.Bus, userapi.ChangedAccountData, req)
}

// AccountDataOf reads one piece of account data.
func (o Owners) AccountDataOf(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	return ask(ctx, o.Bus, userapi.GetAccountData, req)
}

// Messages reads a page of a timeline.
func (o Owners) Messages(ctx context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error) {
	return ask(ctx, o.Bus, roomapi.Messages, req)
}

// Heads asks both owners.
func (o Owners) Heads(ctx context.Context) (rooms, users int64, err error) {
	if rooms, err = bus.Head(ctx, o.Bus, roomapi.Log); err != nil {
		return 0, 0, err
	}
	users, err = bus.Head(ctx, o.Bus, userapi.Log)
	return rooms, users, err
}

func ask[Req, Resp any](ctx context.Context, b *bus.Bus, c bus.Call[Req, Resp], req *Req) (resp *Resp, err error) {
	err = again(ctx, func() error { resp, err = c.Do(ctx, b, req); return err })
	return resp, err
}

const (
	tries    = 4
	firstGap = 50 * time.Millisecond
	maxGap   = time.Second
)

// again calls f until it succeeds, fails for good or has failed often.
func again(ctx context.Context, f func() error) error {
	gap := firstGap
	for try := 1; ; try++ {
		err := f()
		var e *merr.Error
		if err == nil || try == tries || !errors.As(err, &e) || !e.Temporary {
			return err
		}
		timer := time.NewTimer(min(max(gap, e.RetryAfter), maxGap))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		gap *= 2
	}
}
