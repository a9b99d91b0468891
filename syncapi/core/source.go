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
	Subscriptions(ctx context.Context, req *userapi.ChangedSubscriptionsRequest) (*userapi.ChangedSubscriptionsResponse, error)
	Messages(ctx context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error)
	Peers(ctx context.Context, req *roomapi.PeersRequest) (*roomapi.Peers, error)
	DeviceSync(ctx context.Context, req *userapi.DeviceSyncRequest) (*userapi.DeviceSyncResponse, error)
	ChangedDeviceLists(ctx context.Context, req *userapi.ChangedDeviceListsRequest) (*userapi.ChangedDeviceListsResponse, error)
	// UserHead returns the head position of the user log, without reading any of it.
	UserHead(ctx context.Context) (int64, error)
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

// Subscriptions reads a page of changed thread subscriptions.
func (o Owners) Subscriptions(ctx context.Context, req *userapi.ChangedSubscriptionsRequest) (*userapi.ChangedSubscriptionsResponse, error) {
	return ask(ctx, o.Bus, userapi.ChangedSubscriptions, req)
}

// Messages reads a page of a timeline.
func (o Owners) Messages(ctx context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error) {
	return ask(ctx, o.Bus, roomapi.Messages, req)
}

// Peers reads with whom a user shares encrypted rooms.
func (o Owners) Peers(ctx context.Context, req *roomapi.PeersRequest) (p *roomapi.Peers, err error) {
	err = again(ctx, func() error { p, err = roomapi.ReadPeers(ctx, o.Bus, req); return err })
	return p, err
}

// DeviceSync reads what a device is told of itself.
func (o Owners) DeviceSync(ctx context.Context, req *userapi.DeviceSyncRequest) (*userapi.DeviceSyncResponse, error) {
	return ask(ctx, o.Bus, userapi.DeviceSync, req)
}

// ChangedDeviceLists reads a page of changed device lists.
func (o Owners) ChangedDeviceLists(ctx context.Context, req *userapi.ChangedDeviceListsRequest) (*userapi.ChangedDeviceListsResponse, error) {
	return ask(ctx, o.Bus, userapi.ChangedDeviceLists, req)
}

// UserHead asks the owner of users.
func (o Owners) UserHead(ctx context.Context) (int64, error) {
	at, err := ask(ctx, o.Bus, userapi.LogPosition, &userapi.Empty{})
	if err != nil {
		return 0, err
	}
	return at.Pos, nil
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
		if pause(ctx, min(max(gap, e.RetryAfter), maxGap)) != nil {
			return err
		}
		gap *= 2
	}
}

// pause waits; it returns the context's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
