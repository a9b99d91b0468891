package moderation

import (
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

func TestRules(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		told := make(chan int64, 100)
		cancel, err := bus.Subscribe(b, userapi.PolicyTopic, func(c *userapi.PolicyChange) { told <- c.Revision })
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		set := func(r userapi.Rule) (*userapi.Rule, error) {
			return userapi.SetRule.Do(t.Context(), b, &userapi.SetRuleRequest{Rule: r, Actor: "@mod:x"})
		}
		made := must[*userapi.Rule](t)(set(userapi.Rule{Scope: userapi.ScopeUser, Entity: "@bad:x", Ops: []string{"invite", "join"}, Reason: "spam", Source: "!forged:x"}))
		if made.ID == "" || made.Source != userapi.SourceAdmin || made.Author != "@mod:x" || made.Action != userapi.ActionDeny || made.CreatedTS == 0 {
			t.Errorf("made %+v", made)
		}
		if r := <-told; r != 1 {
			t.Errorf("told of revision %d", r)
		}
		if _, err := set(userapi.Rule{Scope: "planet", Entity: "x"}); merr.From(err).Code != "M_INVALID_PARAM" {
			t.Errorf("a rule of nothing: %v", err)
		}
		made.Reason = "worse"
		must[*userapi.Rule](t)(set(*made))
		must[*userapi.Rule](t)(set(userapi.Rule{Scope: userapi.ScopeServer, Entity: "bad.example", DryRun: true, Until: 5}))
		list := must[*userapi.ListRulesResponse](t)(userapi.ListRules.Do(t.Context(), b, &userapi.ListRulesRequest{}))
		if list.Total != 2 || list.Revision != 3 || len(list.Rules) != 2 {
			t.Fatalf("the list: %+v", list)
		}
		one := must[*userapi.ListRulesResponse](t)(userapi.ListRules.Do(t.Context(), b, &userapi.ListRulesRequest{Entity: "@bad:x"}))
		if len(one.Rules) != 1 || one.Rules[0].Reason != "worse" || strings.Join(one.Rules[0].Ops, ",") != "invite,join" {
			t.Errorf("the rule: %+v", one.Rules)
		}
		del := func(id string) error {
			_, err := userapi.DeleteRule.Do(t.Context(), b, &userapi.DeleteRuleRequest{ID: id, Actor: "@mod:x"})
			return err
		}
		if err := del(made.ID); err != nil {
			t.Error(err)
		}
		if err := del(made.ID); merr.From(err).Code != "M_NOT_FOUND" {
			t.Errorf("a second time: %v", err)
		}
		log := must[*userapi.AuditResponse](t)(userapi.AuditLog.Do(t.Context(), b, &userapi.AuditRequest{Target: "rule " + made.ID}))
		if len(log.Entries) != 3 || log.Entries[2].Action != "policy.rule.delete" || !strings.Contains(string(log.Entries[1].Before), "spam") {
			t.Errorf("the log: %+v", log.Entries)
		}
	})
}

func TestRulesOfLists(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		const room = "!list:x"
		follow := userapi.SetPolicyListRequest{List: userapi.PolicyList{RoomID: room, Reader: "@reader:x", Ops: []string{"invite"}}, Actor: "@mod:x"}
		must[*userapi.PolicyList](t)(userapi.SetPolicyList.Do(t.Context(), b, &follow))
		rules := func(n, from int) (list []userapi.Rule) {
			for i := from; i < n; i++ {
				list = append(list, userapi.Rule{
					ID: fmt.Sprint("l", i), Scope: userapi.ScopeUser, Entity: fmt.Sprintf("@u%d:x", i), Action: userapi.ActionDeny, Source: room,
				})
			}
			return list
		}
		for _, step := range [][]userapi.Rule{rules(1200, 0), rules(1200, 0), rules(1201, 100)} {
			if err := s.ReplaceRules(t.Context(), room, step); err != nil {
				t.Fatal(err)
			}
		}
		n, pages := 0, 0
		for after := ""; ; pages++ {
			page := must[*userapi.ListRulesResponse](t)(userapi.ListRules.Do(t.Context(), b, &userapi.ListRulesRequest{Source: room, After: after, Limit: 1000}))
			n += len(page.Rules)
			if !page.More {
				break
			}
			after = page.Rules[len(page.Rules)-1].ID
		}
		if n != 1101 || pages < 1 {
			t.Errorf("%d rules in %d pages", n, pages+1)
		}
		log := must[*userapi.AuditResponse](t)(userapi.AuditLog.Do(t.Context(), b, &userapi.AuditRequest{Action: "policy.list.rules"}))
		if len(log.Entries) != 2 || !strings.Contains(string(log.Entries[1].After), `"added":1,"removed":100,"changed":0`) {
			t.Errorf("the log: %+v", log.Entries)
		}
		if _, err := userapi.DeleteRule.Do(t.Context(), b, &userapi.DeleteRuleRequest{ID: "l500", Actor: "@mod:x"}); merr.From(err).Code != "M_FORBIDDEN" {
			t.Errorf("a rule of a list is deleted: %v", err)
		}
		if _, err := userapi.DeletePolicyList.Do(t.Context(), b, &userapi.DeletePolicyListRequest{RoomID: room, Actor: "@mod:x"}); err != nil {
			t.Error(err)
		}
		if err := s.ReplaceRules(t.Context(), room, rules(5, 0)); err != nil { // too late
			t.Error(err)
		}
		if left := must[*userapi.ListRulesResponse](t)(userapi.ListRules.Do(t.Context(), b, &userapi.ListRulesRequest{})); left.Total != 0 {
			t.Errorf("%d rules are left", left.Total)
		}
		if v := must[*userapi.AuditVerdict](t)(userapi.VerifyAudit.Do(t.Context(), b, &userapi.Empty{})); v.Broken != 0 {
			t.Errorf("the chain is broken at %d", v.Broken)
		}
	})
}
