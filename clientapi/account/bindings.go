package account

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) bindings(ctx context.Context, req *userapi.UserRequest) (*userapi.BindingsResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	answer := &userapi.BindingsResponse{}
	err = s.users.Bindings(ctx, localpart, func(medium, address, server string) {
		answer.Bindings = append(answer.Bindings, userapi.Binding{UserID: req.UserID, Medium: medium, Address: address, Server: server})
	})
	return answer, err
}

func (s *Store) addBinding(ctx context.Context, req *userapi.Binding) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	for _, text := range []string{req.Medium, req.Address, req.Server} {
		if text == "" || !plain(text, 500) {
			return nil, merr.InvalidParam("Invalid third-party identifier")
		}
	}
	return &userapi.Empty{}, s.users.AddBinding(ctx, localpart, req.Medium, req.Address, req.Server, userapi.MaxBindings)
}

func (s *Store) deleteBinding(ctx context.Context, req *userapi.Binding) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.DeleteBinding(ctx, localpart, req.Medium, req.Address, req.Server)
}
