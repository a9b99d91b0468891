package spec

import (
	"net/http"
	"net/url"
)

// pushSteps change what the users are notified of.
var pushSteps = []step{
	{"push rules", func(w *world) {
		w.some(w.do(w.alice, "getPushRules", request{}), "global", "override")
		w.some(w.do(w.alice, "getPushRulesGlobal", request{}), "override")
		for kind, body := range map[string]object{
			"override":  {"actions": []any{"notify"}, "conditions": []object{{"kind": "event_match", "key": "type", "pattern": "org.example.*"}}},
			"underride": {"actions": []any{}, "conditions": []object{{"kind": "room_member_count", "is": ">10"}}},
			"content":   {"actions": []any{"notify", object{"set_tweak": "highlight"}}, "pattern": "cake"},
			"room":      {"actions": []any{}},
			"sender":    {"actions": []any{"notify"}},
		} {
			rule := in("kind", kind, "ruleId", map[string]string{"room": w.space, "sender": w.bob.id}[kind])
			if rule["ruleId"] == "" {
				rule["ruleId"] = "org.example.rule"
			}
			w.do(w.alice, "setPushRule", request{path: rule, body: body})
			if w.built("setPushRule") {
				w.must(w.do(w.alice, "getPushRule", request{path: rule}), rule["ruleId"], "rule_id")
			}
			w.do(w.alice, "setPushRuleEnabled", request{path: rule, body: object{"enabled": false}})
			w.do(w.alice, "setPushRuleActions", request{path: rule, body: object{"actions": []any{"notify", object{"set_tweak": "sound", "value": "default"}}}})
			w.do(w.alice, "getPushRules", request{})
			w.do(w.alice, "deletePushRule", request{path: rule})
		}
		master := in("kind", "override", "ruleId", ".m.rule.master")
		w.must(w.do(w.alice, "getPushRule", request{path: master}), ".m.rule.master", "rule_id")
		w.must(w.do(w.alice, "isPushRuleEnabled", request{path: master}), false, "enabled")
		w.do(w.alice, "getPushRuleActions", request{path: master})
		w.refused(w.alice, "getPushRule", request{path: in("kind", "override", "ruleId", "none")}, http.StatusNotFound, "M_NOT_FOUND")
	}},
	{"pushers", func(w *world) {
		w.do(w.alice, "postPusher", request{body: object{"kind": "http", "app_id": "org.example.app", "pushkey": "key", "app_display_name": "App",
			"device_display_name": "Phone", "lang": "en", "data": object{"url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only"}}})
		v := w.do(w.alice, "getPushers", request{})
		if w.built("postPusher") {
			w.must(v, "key", "pushers", "0", "pushkey")
		}
		w.do(w.alice, "postPusher", request{body: object{"kind": nil, "app_id": "org.example.app", "pushkey": "key"}})
	}},
	{"notifications", func(w *world) {
		w.eventually("the mention is among the notifications", func() bool {
			return !w.built("getNotifications") ||
				len(w.do(w.alice, "getNotifications", request{query: url.Values{"only": {"highlight"}}}).list("notifications")) > 0
		})
	}},
}
