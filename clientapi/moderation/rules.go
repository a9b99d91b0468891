package moderation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"hearth/clientapi/policy"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	ruleColumns = `id, scope, entity, hashed, action, ops, reason, takedown, until, source, dry_run, author, created`
	selectRule  = `SELECT ` + ruleColumns + ` FROM policy_rule WHERE id = $1`
	filterRules = ` FROM policy_rule WHERE ($1 = '' OR scope = $1) AND ($2 = '' OR source = $2) AND ($3 = '' OR entity = $3)`
	pageRules   = `SELECT ` + ruleColumns + filterRules + ` AND id > $4 ORDER BY id LIMIT $5`
	countRules  = `SELECT COUNT(*)` + filterRules
	upsertRule  = `INSERT INTO policy_rule (` + ruleColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (id) DO UPDATE SET scope = excluded.scope, entity = excluded.entity, hashed = excluded.hashed, action = excluded.action,
		ops = excluded.ops, reason = excluded.reason, takedown = excluded.takedown, until = excluded.until, source = excluded.source,
		dry_run = excluded.dry_run, author = excluded.author, created = excluded.created`
	deleteRuleRow  = `DELETE FROM policy_rule WHERE id = $1`
	selectRevision = `SELECT revision FROM policy_revision WHERE id = 1`
	bumpRevision   = `UPDATE policy_revision SET revision = revision + 1 WHERE id = 1`
)

const (
	// maxRuleID bounds the ids of rules, in bytes.
	maxRuleID = 255
	// pageBytes is about how much of rules one answer holds, so that it fits into a message.
	pageBytes = 256 << 10
	// shownRules is how many rules the entry of a list's change names.
	shownRules = 20
)

func scanRule(scan func(...any) error) (*userapi.Rule, error) {
	var r userapi.Rule
	var ops string
	err := scan(&r.ID, &r.Scope, &r.Entity, &r.Hashed, &r.Action, &ops, &r.Reason, &r.Takedown, &r.Until, &r.Source, &r.DryRun, &r.Author, &r.CreatedTS)
	r.Ops = strings.Fields(ops)
	return &r, err
}

func putRule(tx *store.Tx, r *userapi.Rule) error {
	return tx.Exec(upsertRule, r.ID, r.Scope, r.Entity, number(r.Hashed), r.Action, strings.Join(r.Ops, " "), r.Reason, number(r.Takedown), r.Until,
		r.Source, number(r.DryRun), r.Author, r.CreatedTS)
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) listRules(ctx context.Context, req *userapi.ListRulesRequest) (*userapi.ListRulesResponse, error) {
	limit := pageSize(req.Limit)
	resp := &userapi.ListRulesResponse{Rules: []userapi.Rule{}}
	err := s.db.Read(ctx, func(r *store.Reader) error {
		if err := r.Row(selectRevision).Scan(&resp.Revision); err != nil {
			return err
		}
		filter := []any{req.Scope, req.Source, req.Entity}
		if err := r.Row(countRules, filter...).Scan(&resp.Total); err != nil {
			return err
		}
		size := 0
		return eachRow(r, pageRules, append(filter, req.After, limit+1), func(scan func(...any) error) error {
			rule, err := scanRule(scan)
			if err != nil || resp.More {
				return err
			}
			if resp.More = len(resp.Rules) == limit || size > pageBytes; !resp.More {
				resp.Rules = append(resp.Rules, *rule)
				size += 256 + len(rule.ID) + len(rule.Entity) + len(rule.Reason)
			}
			return nil
		})
	})
	return resp, err
}

// setRule sets a rule of an administrator; those of lists are the lists' own.
func (s *Server) setRule(ctx context.Context, req *userapi.SetRuleRequest) (*userapi.Rule, error) {
	rule := req.Rule
	if rule.Action == "" {
		rule.Action = userapi.ActionDeny
	}
	if rule.ID == "" {
		rule.ID = "r-" + strings.ToLower(rand.Text()[:16])
	}
	if len(rule.ID) > maxRuleID {
		return nil, merr.InvalidParam("The id of a rule has at most %d bytes", maxRuleID)
	}
	if err := policy.Validate(&rule); err != nil {
		return nil, err
	}
	rule.Source, rule.Author = userapi.SourceAdmin, req.Actor
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		before, err := scanRule(tx.Row(selectRule, rule.ID).Scan)
		switch {
		case errors.Is(err, store.ErrNoRows):
			before = nil
			if err := roomForRules(tx, 1); err != nil {
				return err
			}
		case err != nil:
			return err
		case before.Source != userapi.SourceAdmin:
			return merr.Forbidden("The rule belongs to a policy list; a rule that allows wins over it")
		}
		rule.CreatedTS = tx.Now().UnixMilli()
		if before != nil {
			rule.CreatedTS = before.CreatedTS
		}
		if err := putRule(tx, &rule); err != nil {
			return err
		}
		return recordRule(tx, req.Actor, "policy.rule.set", rule.Reason, rule.ID, before, &rule)
	})
	if err != nil {
		return nil, err
	}
	s.tellPolicy(ctx, false)
	return &rule, nil
}

func roomForRules(tx *store.Tx, more int) error {
	var n int64
	if err := tx.Row(countRules, "", "", "").Scan(&n); err != nil {
		return err
	}
	if n+int64(more) > userapi.MaxRules {
		return merr.Forbidden("There are %d rules already; more than %d are too many", n, userapi.MaxRules)
	}
	return nil
}

// recordRule writes the entry of a change and counts it.
func recordRule(tx *store.Tx, actor, action, reason, target string, before, after *userapi.Rule) error {
	e := &userapi.AuditEntry{Actor: actor, Action: action, Target: "rule " + target, Reason: reason}
	for _, part := range []struct {
		from *userapi.Rule
		to   *json.RawMessage
	}{{before, &e.Before}, {after, &e.After}} {
		if part.from == nil {
			continue
		}
		raw, err := json.Marshal(part.from)
		if err != nil {
			return err
		}
		*part.to = raw
	}
	if err := record(tx, e); err != nil {
		return err
	}
	return tx.Exec(bumpRevision)
}

func (s *Server) deleteRule(ctx context.Context, req *userapi.DeleteRuleRequest) (*userapi.Empty, error) {
	if len(req.Reason) > userapi.MaxReason {
		return nil, merr.TooLarge("The reason is longer than %d bytes", userapi.MaxReason)
	}
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		before, err := scanRule(tx.Row(selectRule, req.ID).Scan)
		if err != nil {
			return err
		}
		if before.Source != userapi.SourceAdmin {
			return merr.Forbidden("The rule belongs to a policy list; a rule that allows wins over it")
		}
		if err := tx.Exec(deleteRuleRow, req.ID); err != nil {
			return err
		}
		return recordRule(tx, req.Actor, "policy.rule.delete", req.Reason, req.ID, before, nil)
	})
	if err != nil {
		return nil, notFound(err, "Rule")
	}
	s.tellPolicy(ctx, false)
	return &userapi.Empty{}, nil
}

// tellPolicy tells everybody that the rules have changed.
func (s *Server) tellPolicy(ctx context.Context, lists bool) {
	change := &userapi.PolicyChange{Lists: lists}
	err := s.db.Read(ctx, func(r *store.Reader) error { return r.Row(selectRevision).Scan(&change.Revision) })
	if err != nil {
		return // they look by themselves
	}
	userapi.PolicyTopic.Publish(s.bus, change)
}
