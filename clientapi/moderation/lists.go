package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"hearth/clientapi/policy"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
)

const (
	listColumns = `room_id, reader, name, ops, dry_run, author, created`
	selectLists = `SELECT ` + listColumns + ` FROM policy_list ORDER BY room_id`
	selectList  = `SELECT ` + listColumns + ` FROM policy_list WHERE room_id = $1`
	upsertList  = `INSERT INTO policy_list (` + listColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (room_id) DO UPDATE SET reader = excluded.reader, name = excluded.name, ops = excluded.ops, dry_run = excluded.dry_run,
		author = excluded.author`
	deleteListRow = `DELETE FROM policy_list WHERE room_id = $1`
	countLists    = `SELECT COUNT(*) FROM policy_list`
	rulesOf       = `SELECT ` + ruleColumns + ` FROM policy_rule WHERE source = $1`
	deleteRulesOf = `DELETE FROM policy_rule WHERE source = $1`
)

func scanList(scan func(...any) error) (*userapi.PolicyList, error) {
	var l userapi.PolicyList
	var ops string
	err := scan(&l.RoomID, &l.Reader, &l.Name, &ops, &l.DryRun, &l.Author, &l.CreatedTS)
	l.Ops = strings.Fields(ops)
	return &l, err
}

func (s *Server) policyLists(ctx context.Context, _ *userapi.Empty) (*userapi.PolicyListsResponse, error) {
	resp := &userapi.PolicyListsResponse{Lists: []userapi.PolicyList{}}
	err := s.db.Read(ctx, func(r *store.Reader) error {
		return eachRow(r, selectLists, nil, func(scan func(...any) error) error {
			l, err := scanList(scan)
			resp.Lists = append(resp.Lists, *l)
			return err
		})
	})
	return resp, err
}

func (s *Server) setPolicyList(ctx context.Context, req *userapi.SetPolicyListRequest) (*userapi.PolicyList, error) {
	list := req.List
	if _, _, err := pdu.ParseRoomID(list.RoomID); err != nil {
		return nil, merr.InvalidParam("Invalid room id")
	}
	if _, _, err := pdu.ParseUserID(list.Reader); err != nil {
		return nil, merr.InvalidParam("The reader is a user of this server who is in the room")
	}
	if len(list.Name) > maxRuleID {
		return nil, merr.InvalidParam("name has at most %d bytes", maxRuleID)
	}
	if err := policy.ValidOps(list.Ops); err != nil {
		return nil, err
	}
	list.Author = req.Actor
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		before, err := scanList(tx.Row(selectList, list.RoomID).Scan)
		if errors.Is(err, store.ErrNoRows) {
			var n int64
			if err := tx.Row(countLists).Scan(&n); err != nil {
				return err
			}
			if n >= userapi.MaxPolicyLists {
				return merr.Forbidden("More than %d policy lists are too many", userapi.MaxPolicyLists)
			}
			before, list.CreatedTS = nil, tx.Now().UnixMilli()
		} else if err != nil {
			return err
		} else {
			list.CreatedTS = before.CreatedTS
		}
		err = tx.Exec(upsertList, list.RoomID, list.Reader, list.Name, strings.Join(list.Ops, " "), number(list.DryRun), list.Author, list.CreatedTS)
		if err != nil {
			return err
		}
		return recordList(tx, req.Actor, "policy.list.set", list.RoomID, before, &list)
	})
	if err != nil {
		return nil, err
	}
	s.tellPolicy(ctx, true)
	return &list, nil
}

func recordList(tx *store.Tx, actor, action, target string, before, after any) error {
	e := &userapi.AuditEntry{Actor: actor, Action: action, Target: target}
	var err error
	if v := reflect.ValueOf(before); v.IsValid() && !v.IsNil() {
		if e.Before, err = json.Marshal(before); err != nil {
			return err
		}
	}
	if v := reflect.ValueOf(after); v.IsValid() && !v.IsNil() {
		if e.After, err = json.Marshal(after); err != nil {
			return err
		}
	}
	return record(tx, e)
}

func (s *Server) deletePolicyList(ctx context.Context, req *userapi.DeletePolicyListRequest) (*userapi.Empty, error) {
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		before, err := scanList(tx.Row(selectList, req.RoomID).Scan)
		if err != nil {
			return err
		}
		for _, sql := range []string{deleteListRow, deleteRulesOf} {
			if err := tx.Exec(sql, req.RoomID); err != nil {
				return err
			}
		}
		if err := tx.Exec(bumpRevision); err != nil {
			return err
		}
		return recordList(tx, req.Actor, "policy.list.delete", req.RoomID, before, (*userapi.PolicyList)(nil))
	})
	if err != nil {
		return nil, notFound(err, "Policy list")
	}
	s.tellPolicy(ctx, true)
	return &userapi.Empty{}, nil
}

// listChange is what the audit log says of a list that changed: how many rules, and the first.
type listChange struct {
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Changed int      `json:"changed"`
	Some    []string `json:"some"`
}

// ReplaceRules makes the rules of a list exactly these, if the server still follows it, and
// records the difference in one entry. Rules that are not valid must not be among them.
func (s *Server) ReplaceRules(ctx context.Context, list string, rules []userapi.Rule) error {
	changed := false
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		changed = false
		if _, err := scanList(tx.Row(selectList, list).Scan); errors.Is(err, store.ErrNoRows) {
			return nil // the subscription ended meanwhile
		} else if err != nil {
			return err
		}
		old := map[string]*userapi.Rule{}
		err := eachRow(tx, rulesOf, []any{list}, func(scan func(...any) error) error {
			r, err := scanRule(scan)
			old[r.ID] = r
			return err
		})
		if err != nil {
			return err
		}
		sum, err := replace(tx, old, rules)
		if err != nil || sum.Added+sum.Removed+sum.Changed == 0 {
			return err
		}
		changed = true
		if err := tx.Exec(bumpRevision); err != nil {
			return err
		}
		return recordList(tx, "server", "policy.list.rules", list, (*listChange)(nil), sum)
	})
	if err == nil && changed {
		s.tellPolicy(ctx, false)
	}
	return err
}

// replace turns old rules of a source into new ones.
func replace(tx *store.Tx, old map[string]*userapi.Rule, rules []userapi.Rule) (*listChange, error) {
	sum := &listChange{Some: []string{}}
	note := func(sign string, r *userapi.Rule) {
		if len(sum.Some) < shownRules {
			sum.Some = append(sum.Some, fmt.Sprintf("%s %s %s", sign, r.Scope, r.Entity))
		}
	}
	if err := roomForRules(tx, max(0, len(rules)-len(old))); err != nil {
		return nil, err
	}
	for i := range rules {
		r := &rules[i]
		before := old[r.ID]
		delete(old, r.ID)
		switch {
		case before == nil:
			sum.Added++
			note("+", r)
		case same(before, r):
			continue
		default:
			sum.Changed++
			note("~", r)
		}
		if err := putRule(tx, r); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old)) {
		sum.Removed++
		note("-", old[id])
		if err := tx.Exec(deleteRuleRow, id); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func same(a, b *userapi.Rule) bool {
	x, y := *a, *b
	x.Ops, y.Ops = nil, nil
	return reflect.DeepEqual(x, y) && slices.Equal(a.Ops, b.Ops)
}
