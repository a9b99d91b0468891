package pdu

import (
	"strings"
	"testing"
)

func TestRedactedContentByVersion(t *testing.T) {
	const levels = `{"ban":1,"events":{"a":1},"events_default":2,"invite":3,"kick":4,"notifications":{"room":5},"redact":6,"state_default":7,"users":{"@a:b":8},"users_default":9,"x":0}`
	const levelsKept = `{"ban":1,"events":{"a":1},"events_default":2,"kick":4,"redact":6,"state_default":7,"users":{"@a:b":8},"users_default":9}`
	const member = `{"displayname":"x","join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"display_name":"y","signed":{"token":"t"}}}`
	const rules = `{"allow":[{"type":"m.room_membership"}],"join_rule":"restricted","x":1}`
	const create = `{"creator":"@a:b","m.federate":false,"room_version":"x"}`
	tests := []struct {
		eventType, content string
		// want holds what is kept, from the version on.
		want []struct {
			from int
			kept string
		}
	}{
		{"m.room.message", `{"body":"x"}`, from(1, `{}`)},
		{"m.room.topic", `{"topic":"x"}`, from(1, `{}`)},
		{"m.room.member", member, from(1, `{"membership":"join"}`,
			9, `{"join_authorised_via_users_server":"@a:b","membership":"join"}`,
			11, `{"join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"signed":{"token":"t"}}}`)},
		{"m.room.member", `{"membership":"invite","third_party_invite":{"display_name":"y"}}`,
			from(1, `{"membership":"invite"}`, 11, `{"membership":"invite","third_party_invite":{}}`)},
		{"m.room.member", `{"membership":"invite","third_party_invite":[5]}`, from(1, `{"membership":"invite"}`)},
		{"m.room.create", create, from(1, `{"creator":"@a:b"}`, 11, create)},
		{"m.room.join_rules", rules, from(1, `{"join_rule":"restricted"}`, 8, `{"allow":[{"type":"m.room_membership"}],"join_rule":"restricted"}`)},
		{"m.room.power_levels", levels, from(1, levelsKept, 11, strings.Replace(levelsKept, `"kick"`, `"invite":3,"kick"`, 1))},
		{"m.room.history_visibility", `{"history_visibility":"shared","x":1}`, from(1, `{"history_visibility":"shared"}`)},
		{"m.room.aliases", `{"aliases":["#a:b"],"x":1}`, from(1, `{"aliases":["#a:b"]}`, 6, `{}`)},
		{"m.room.redaction", `{"reason":"r","redacts":"$x"}`, from(1, `{}`, 11, `{"redacts":"$x"}`)},
		{"m.room.Member", `{"membership":"join"}`, from(1, `{}`)},
		{"m.room.member", `{"Membership":"join","MEMBERSHIP":"ban"}`, from(1, `{}`)},
		{"m.room.third_party_invite", `{"public_key":"x"}`, from(1, `{}`)},
	}
	for _, tt := range tests {
		for i, v := range Versions() {
			var want string
			for _, w := range tt.want {
				if i+1 >= w.from {
					want = w.kept
				}
			}
			got := appendRedactedContent(nil, []byte(tt.content), v.redaction, tt.eventType)
			if string(got) != want {
				t.Errorf("v%s %s: %s, want %s", v.ID, tt.eventType, got, want)
			}
			if again := appendRedactedContent(nil, got, v.redaction, tt.eventType); string(again) != want {
				t.Errorf("v%s %s twice: %s", v.ID, tt.eventType, again)
			}
		}
	}
}

func from(pairs ...any) (out []struct {
	from int
	kept string
}) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, struct {
			from int
			kept string
		}{pairs[i].(int), pairs[i+1].(string)})
	}
	return out
}

func TestRedactedTopLevelByVersion(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		src := rehash(t, sample(t, v, "origin", `"example.org"`, "membership", `"join"`, "prev_state", `[]`, "redacts", `"$x"`,
			"extra", `1`, "ORIGIN", `"x"`, "state_key", `""`, "type", `"m.room.topic"`))
		e, err := Parse(v, src)
		if err != nil || e.Redacted {
			t.Fatalf("%+v, %v", e, err)
		}
		redacted, err := e.Redact()
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"auth_events", "content", "depth", "event_id", "hashes", "membership", "origin", "origin_server_ts",
			"prev_events", "prev_state", "room_id", "sender", "signatures", "state_key", "type"}
		var keys []string
		Members(redacted.JSON, func(key string, _ []byte) bool { keys = append(keys, key); return true })
		var expected []string
		for _, k := range want {
			switch k {
			case "event_id":
				if v.EventFormat != 1 {
					continue
				}
			case "membership", "origin", "prev_state":
				if v.CreatorIsSender { // v11 and later
					continue
				}
			}
			expected = append(expected, k)
		}
		if strings.Join(keys, " ") != strings.Join(expected, " ") {
			t.Errorf("kept %v, want %v", keys, expected)
		}
		if redacted.EventID != e.EventID || string(redacted.ReferenceHash()) != string(e.ReferenceHash()) {
			t.Error("redaction changed the id")
		}
		twice, err := redacted.Redact()
		if err != nil || twice != redacted {
			t.Errorf("redacting twice: %+v, %v", twice, err)
		}
	})
}

// Numbers of old rooms keep their text through redaction, or hashes would change.
func TestRedactionKeepsTextOfNumbers(t *testing.T) {
	for _, v := range Versions()[:5] {
		content := `{"ban":50.570,"users":{"@a:example.org":9007199254740993,"@b:example.org":1e400},"users_default":"0"}`
		e, err := Parse(v, rehash(t, sample(t, v, "type", `"m.room.power_levels"`, "state_key", `""`, "content", content)))
		if err != nil || e.Redacted {
			t.Fatalf("%+v, %v", e, err)
		}
		redacted, err := e.Redact()
		if err != nil || string(redacted.Content) != content {
			t.Errorf("%s, %v", redacted.Content, err)
		}
	}
}
