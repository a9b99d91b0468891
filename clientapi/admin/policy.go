package admin

import (
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// listRules is GET /_hearth/admin/v1/policy/rules.
func (s *Server) listRules(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &userapi.ListRulesRequest{
		After: q.String("after"), Scope: q.String("scope"), Source: q.String("source"), Entity: q.String("entity"),
		Limit: int(q.Int("limit", 100, 1, userapi.MaxRulesPage)),
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	return userapi.ListRules.Do(r.Context(), s.Bus, req)
}

// rule is a rule in a request. Reason goes into the audit log too.
type rule struct {
	Scope  string   `json:"scope"`
	Entity string   `json:"entity"`
	Hashed bool     `json:"hashed"`
	Action string   `json:"action"`
	Ops    []string `json:"ops"`
	Reason string   `json:"reason"`
	Until  int64    `json:"until"`
	DryRun bool     `json:"dry_run"`
}

// addRule is POST /_hearth/admin/v1/policy/rules, putRule PUT …/{ruleId}.
func (s *Server) addRule(r *matrixhttp.Request) (any, error) { return s.setRule(r, "") }
func (s *Server) putRule(r *matrixhttp.Request) (any, error) { return s.setRule(r, r.Param("ruleId")) }

func (s *Server) setRule(r *matrixhttp.Request, id string) (any, error) {
	req, err := matrixhttp.Decode[rule](r)
	if err != nil {
		return nil, err
	}
	return userapi.SetRule.Do(r.Context(), s.Bus, &userapi.SetRuleRequest{Actor: r.Identity.UserID, Rule: userapi.Rule{
		ID: id, Scope: req.Scope, Entity: req.Entity, Hashed: req.Hashed, Action: req.Action, Ops: req.Ops, Reason: req.Reason,
		Until: req.Until, DryRun: req.DryRun,
	}})
}

// deleteRule is DELETE /_hearth/admin/v1/policy/rules/{ruleId}.
func (s *Server) deleteRule(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	return userapi.DeleteRule.Do(r.Context(), s.Bus, &userapi.DeleteRuleRequest{ID: r.Param("ruleId"), Actor: r.Identity.UserID, Reason: req.Reason})
}

// checkPolicy is POST /_hearth/admin/v1/policy/check: what the rules say of something, and why.
func (s *Server) checkPolicy(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[userapi.PolicyQuery](r)
	if err != nil {
		return nil, err
	}
	return userapi.CheckPolicy.Do(r.Context(), s.Bus, req)
}

// policyLists is GET /_hearth/admin/v1/policy/lists.
func (s *Server) policyLists(r *matrixhttp.Request) (any, error) {
	return userapi.PolicyLists.Do(r.Context(), s.Bus, &userapi.Empty{})
}

// putPolicyList is PUT /_hearth/admin/v1/policy/lists/{roomId}. reader, a user of this server who
// is in the room, is whoever asks unless it is given.
func (s *Server) putPolicyList(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Reader string   `json:"reader"`
		Name   string   `json:"name"`
		Ops    []string `json:"ops"`
		DryRun bool     `json:"dry_run"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Reader == "" {
		req.Reader = r.Identity.UserID
	}
	if !strings.HasSuffix(req.Reader, ":"+s.ServerName) {
		return nil, merr.InvalidParam("The reader is a user of this server who is in the room")
	}
	return userapi.SetPolicyList.Do(r.Context(), s.Bus, &userapi.SetPolicyListRequest{Actor: r.Identity.UserID, List: userapi.PolicyList{
		RoomID: r.Param("roomId"), Reader: req.Reader, Name: req.Name, Ops: req.Ops, DryRun: req.DryRun,
	}})
}

// deletePolicyList is DELETE /_hearth/admin/v1/policy/lists/{roomId}.
func (s *Server) deletePolicyList(r *matrixhttp.Request) (any, error) {
	return userapi.DeletePolicyList.Do(r.Context(), s.Bus, &userapi.DeletePolicyListRequest{RoomID: r.Param("roomId"), Actor: r.Identity.UserID})
}

// approve is POST /_hearth/admin/v1/users/{userId}/approve: the account may be used from now on.
func (s *Server) approve(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "user.approve", u.UserID, "", u.Approved, true); err != nil {
		return nil, err
	}
	if _, err := userapi.Approve.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID}); err != nil {
		return nil, err
	}
	return map[string]bool{"approved": true}, nil
}
