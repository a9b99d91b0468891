package account

import (
	"context"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) logout(ctx context.Context, req *userapi.LogoutRequest) (*userapi.Revoked, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	var revoked [][]byte
	if req.All {
		revoked, err = s.users.DeleteAllDevices(ctx, localpart)
	} else {
		revoked, err = s.users.DeleteDevices(ctx, localpart, req.Devices)
	}
	return s.revoke(revoked), err
}

func (s *Store) deactivate(ctx context.Context, req *userapi.DeactivateRequest) (*userapi.Revoked, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	revoked, err := s.users.Deactivate(ctx, localpart, req.Erase)
	return s.revoke(revoked), err
}

func (s *Store) getUser(ctx context.Context, req *userapi.UserRequest) (*userapi.User, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	a, err := s.users.Account(ctx, localpart)
	if err != nil {
		return nil, err
	}
	return describeUser(req.UserID, a), nil
}

func describeUser(userID string, a storage.Account) *userapi.User {
	return &userapi.User{
		UserID: userID, Admin: a.Admin, Deactivated: a.Deactivated, CreatedTS: a.Created,
		Guest: a.Guest, Approved: !a.Unapproved, Erased: a.Erased, HasPassword: a.Password != "",
		Restrictions: restrictions(a.Admin, a.Restrictions),
	}
}

func (s *Store) devices(ctx context.Context, req *userapi.UserRequest) (*userapi.DevicesResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	list, err := s.users.Devices(ctx, localpart)
	if err != nil {
		return nil, err
	}
	answer := &userapi.DevicesResponse{Devices: make([]userapi.Device, 0, len(list))}
	for _, d := range list {
		answer.Devices = append(answer.Devices, describe(d))
	}
	return answer, nil
}

func describe(d storage.Device) userapi.Device {
	return userapi.Device{DeviceID: d.ID, DisplayName: d.DisplayName, CreatedTS: d.Created, LastSeenTS: d.Seen, LastSeenIP: d.IP}
}

func (s *Store) getDevice(ctx context.Context, req *userapi.DeviceRequest) (*userapi.Device, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	d, err := s.users.Device(ctx, localpart, req.DeviceID)
	if err != nil {
		return nil, err
	}
	answer := describe(d)
	return &answer, nil
}

func (s *Store) setDevice(ctx context.Context, req *userapi.SetDeviceRequest) (*userapi.SetDeviceResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	var name *string
	if req.DisplayName != nil {
		shown := displayName(*req.DisplayName)
		name = &shown
	}
	if req.Create {
		if req.DeviceID == "" || !plain(req.DeviceID, userapi.MaxKey) {
			return nil, merr.InvalidParam("Invalid device id")
		}
		created, err := s.users.MakeDevice(ctx, localpart, req.DeviceID, name, userapi.MaxDevices)
		return &userapi.SetDeviceResponse{Created: created}, err
	}
	if name == nil {
		_, err := s.users.Device(ctx, localpart, req.DeviceID)
		return &userapi.SetDeviceResponse{}, err
	}
	return &userapi.SetDeviceResponse{}, s.users.SetDevice(ctx, localpart, req.DeviceID, *name)
}
