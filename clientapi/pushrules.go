package clientapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
)

// ruleset reads the rules of the user who asks.
func (s *Server) ruleset(r *matrixhttp.Request) (*pushrules.Ruleset, error) {
	answer, err := userapi.PushRules.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return pushrules.Load(r.Identity.UserID, answer.Content), nil
}

// pushRules is GET /pushrules/.
func (s *Server) pushRules(r *matrixhttp.Request) (any, error) {
	rules, err := s.ruleset(r)
	if err != nil {
		return nil, err
	}
	return rules.Marshal(), nil
}

// pushRulesGlobal is GET /pushrules/global/.
func (s *Server) pushRulesGlobal(r *matrixhttp.Request) (any, error) { return s.ruleset(r) }

func (s *Server) findRule(r *matrixhttp.Request) (*pushrules.Rule, error) {
	rules, err := s.ruleset(r)
	if err != nil {
		return nil, err
	}
	return rules.Get(r.Param("kind"), r.Param("ruleId"))
}

// pushRule is GET /pushrules/global/{kind}/{ruleId}.
func (s *Server) pushRule(r *matrixhttp.Request) (any, error) { return s.findRule(r) }

// pushRuleEnabled is GET /pushrules/global/{kind}/{ruleId}/enabled.
func (s *Server) pushRuleEnabled(r *matrixhttp.Request) (any, error) {
	rule, err := s.findRule(r)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"enabled": rule.Enabled}, nil
}

// pushRuleActions is GET /pushrules/global/{kind}/{ruleId}/actions.
func (s *Server) pushRuleActions(r *matrixhttp.Request) (any, error) {
	rule, err := s.findRule(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"actions": rule.Actions}, nil
}

// changeRules sends a change to the user store.
func (s *Server) changeRules(r *matrixhttp.Request, change userapi.PushRulesRequest) (any, error) {
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	change.UserID, change.Kind, change.RuleID = r.Identity.UserID, r.Param("kind"), r.Param("ruleId")
	_, err := userapi.ChangePushRules.Do(r.Context(), s.bus, &change)
	return nil, err
}

// putPushRule is PUT /pushrules/global/{kind}/{ruleId}.
func (s *Server) putPushRule(r *matrixhttp.Request) (any, error) {
	rule, err := matrixhttp.Decode[userapi.PushRule](r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	before, after := query.String("before"), query.String("after")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.changeRules(r, userapi.PushRulesRequest{Op: userapi.PutPushRule, Rule: rule, Before: before, After: after})
}

// deletePushRule is DELETE /pushrules/global/{kind}/{ruleId}.
func (s *Server) deletePushRule(r *matrixhttp.Request) (any, error) {
	return s.changeRules(r, userapi.PushRulesRequest{Op: userapi.DeletePushRule})
}

// enablePushRule is PUT /pushrules/global/{kind}/{ruleId}/enabled.
func (s *Server) enablePushRule(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[struct {
		Enabled *bool `json:"enabled"`
	}](r)
	if err != nil {
		return nil, err
	}
	if body.Enabled == nil {
		return nil, merr.MissingParam("enabled")
	}
	return s.changeRules(r, userapi.PushRulesRequest{Op: userapi.EnablePushRule, Enabled: *body.Enabled})
}

// setPushRuleActions is PUT /pushrules/global/{kind}/{ruleId}/actions.
func (s *Server) setPushRuleActions(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[struct {
		Actions []json.RawMessage `json:"actions"`
	}](r)
	if err != nil {
		return nil, err
	}
	if body.Actions == nil {
		return nil, merr.MissingParam("actions")
	}
	return s.changeRules(r, userapi.PushRulesRequest{Op: userapi.SetPushActions, Actions: body.Actions})
}
