package account

import (
	"context"
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// maxSetting bounds a value, in bytes.
const maxSetting = 64 << 10

func (s *Store) settings(ctx context.Context, req *userapi.UserRequest) (*userapi.Settings, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	values, err := s.users.Settings(ctx, localpart)
	if err != nil {
		return nil, err
	}
	return settingsOf(values, func(name string) string { return name }), nil
}

func settingsOf(values map[string][]byte, key func(string) string) *userapi.Settings {
	out := &userapi.Settings{Values: make(map[string]json.RawMessage, len(values))}
	for name, value := range values {
		out.Values[key(name)] = value
	}
	return out
}

func (s *Store) settingsByName(ctx context.Context, req *userapi.SettingsByNameRequest) (*userapi.Settings, error) {
	values, err := s.users.SettingsByName(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return settingsOf(values, s.userID), nil
}

func (s *Store) setSetting(ctx context.Context, req *userapi.SetSettingRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	value := req.Value
	if string(value) == "null" {
		value = nil
	}
	if req.Name == "" || len(value) > maxSetting || len(value) > 0 && !json.Valid(value) {
		return nil, merr.InvalidParam("Invalid setting")
	}
	if err := s.users.SetSetting(ctx, localpart, req.Name, value); err != nil {
		return nil, err
	}
	userapi.SettingTopic.Publish(s.bus, req)
	return &userapi.Empty{}, nil
}
