package account

import (
	"context"
	"errors"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
)

func (s *Store) handlePushRules() error {
	if err := on(s, userapi.PushRules, s.pushRules)(); err != nil {
		return err
	}
	return on(s, userapi.ChangePushRules, s.changePushRules)()
}

func (s *Store) pushRules(ctx context.Context, req *userapi.UserRequest) (*userapi.PushRulesResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	data, err := s.users.AccountData(ctx, localpart, "", pushrules.AccountDataType)
	if errors.Is(err, merr.NotFound("")) {
		if _, err = s.users.Account(ctx, localpart); err != nil {
			return nil, merr.NotFound("User not found").WithCause(err)
		}
	}
	if err != nil {
		return nil, err
	}
	return &userapi.PushRulesResponse{Content: pushrules.Load(req.UserID, data.Content).Marshal(), Pos: data.Pos}, nil
}

func (s *Store) changePushRules(ctx context.Context, req *userapi.PushRulesRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	err = s.users.ChangeAccountData(ctx, localpart, pushrules.AccountDataType, func(old []byte) ([]byte, error) {
		rules := pushrules.Load(req.UserID, old)
		changed, err := change(rules, req)
		if err != nil || !changed {
			return nil, err
		}
		return rules.Marshal(), nil
	})
	return &userapi.Empty{}, err
}

// change applies a request and reports whether it may have changed something.
func change(rules *pushrules.Ruleset, req *userapi.PushRulesRequest) (bool, error) {
	switch req.Op {
	case userapi.PutPushRule:
		if req.Rule == nil {
			return false, merr.InvalidParam("There is no rule")
		}
		n := pushrules.NewRule{
			Actions: slices.Clone(req.Rule.Actions), Conditions: slices.Clone(req.Rule.Conditions), Pattern: req.Rule.Pattern,
		}
		return true, rules.Put(req.Kind, req.RuleID, n, req.Before, req.After)
	case userapi.DeletePushRule:
		return true, rules.Delete(req.Kind, req.RuleID)
	case userapi.EnablePushRule:
		return true, rules.SetEnabled(req.Kind, req.RuleID, req.Enabled)
	case userapi.SetPushActions:
		return true, rules.SetActions(req.Kind, req.RuleID, req.Actions)
	case userapi.CopyRoomRules:
		return rules.CopyRoom(req.From, req.RoomID), nil
	}
	return false, merr.InvalidParam("Unknown change of push rules")
}
