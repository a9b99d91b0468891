package account

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) handleThreads() error {
	for _, register := range []func() error{
		on(s, userapi.Subscribe, s.subscribe),
		on(s, userapi.Unsubscribe, s.unsubscribe),
		on(s, userapi.GetSubscription, s.getSubscription),
		on(s, userapi.ChangedSubscriptions, s.changedSubscriptions),
	} {
		if err := register(); err != nil {
			return err
		}
	}
	return nil
}

// thread returns whose a subscription is, if it names a thread.
func (s *Store) thread(req *userapi.ThreadRequest) (localpart string, err error) {
	for _, id := range [...]string{req.RoomID, req.ThreadID} {
		if id == "" || !plain(id, userapi.MaxKey) {
			return "", merr.InvalidParam("Invalid room or thread")
		}
	}
	return s.local(req.UserID)
}

func (s *Store) subscribe(ctx context.Context, req *userapi.SubscribeRequest) (*userapi.Empty, error) {
	localpart, err := s.thread(&req.ThreadRequest)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.Subscribe(ctx, localpart, req, userapi.MaxThreadSubscriptions)
}

func (s *Store) unsubscribe(ctx context.Context, req *userapi.UnsubscribeRequest) (*userapi.Empty, error) {
	localpart, err := s.thread(&req.ThreadRequest)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.Unsubscribe(ctx, localpart, req)
}

func (s *Store) getSubscription(ctx context.Context, req *userapi.ThreadRequest) (*userapi.ThreadSubscription, error) {
	localpart, err := s.thread(req)
	if err != nil {
		return nil, err
	}
	t, err := s.users.Subscription(ctx, localpart, req.RoomID, req.ThreadID)
	return &t, err
}

func (s *Store) changedSubscriptions(ctx context.Context, req *userapi.ChangedSubscriptionsRequest) (*userapi.ChangedSubscriptionsResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if req.Limit < 1 {
		return nil, merr.InvalidParam("limit must be positive")
	}
	return s.users.ChangedSubscriptions(ctx, localpart, req.After, req.UpTo, min(req.Limit, userapi.MaxThreadPage))
}
