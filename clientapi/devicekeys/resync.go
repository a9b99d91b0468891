package devicekeys

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
)

const (
	// resyncs is how many lists are fetched at the same time, resyncPage how many are
	// looked up.
	resyncs    = 4
	resyncPage = 100
	// resyncEvery is how often it is looked for lists whose time has come.
	resyncEvery = 30 * time.Second
	// A list that could not be fetched is tried again after firstRetry, and after twice the
	// time each time, up to lastRetry.
	firstRetry = 15 * time.Second
	lastRetry  = 2 * time.Hour
)

// ring makes Resync look for stale lists now.
func (k *Keys) ring() {
	select {
	case k.stale <- struct{}{}:
	default:
	}
}

// Resync fetches stale lists of devices of users of other servers until ctx ends.
func (k *Keys) Resync(ctx context.Context) error {
	tick := time.NewTicker(resyncEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		more, err := k.resyncSome(ctx)
		if err != nil && ctx.Err() == nil && k.log != nil {
			k.log.WithError(err).Warn("device lists of other servers cannot be fetched now")
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-k.stale:
		}
	}
	return nil
}

// resyncSome fetches a page of lists; more says that there may be others whose time
// has come.
func (k *Keys) resyncSome(ctx context.Context) (more bool, err error) {
	lists, err := k.users.StaleRemoteLists(ctx, k.now().UnixMilli(), resyncPage)
	if err != nil {
		return false, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(resyncs)
	for _, l := range lists {
		group.Go(func() error { return k.resync(ctx, l) })
	}
	return len(lists) == resyncPage, group.Wait()
}

// resync fetches one list. Only an error of the store is one.
func (k *Keys) resync(ctx context.Context, l storage.StaleList) error {
	answer, err := remoteapi.UserDevices.Do(ctx, k.bus, &remoteapi.UserRequest{UserID: l.UserID})
	if err == nil {
		var state *userapi.DeviceListState
		state, err = k.setRemoteDevices(ctx, &userapi.SetRemoteDevicesRequest{UserID: l.UserID, Answer: answer.JSON})
		if err == nil && !state.Stale {
			return nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && lost(err):
		return k.users.DropRemoteList(ctx, l.UserID)
	case err != nil && k.log != nil:
		k.log.WithField("user_id", l.UserID).WithField("errcode", merr.From(err).Code).Debug("the devices of a user cannot be fetched now")
	}
	wait := lastRetry
	if l.Failures < 10 {
		wait = min(lastRetry, firstRetry<<l.Failures)
	}
	return k.users.RemoteListFailed(ctx, l.UserID, k.now().Add(wait).UnixMilli())
}
