package clientapi

import (
	"encoding/json"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
)

func TestEncryptionIsTurnedOn(t *testing.T) {
	private, direct, all := EncryptionOptions{Private: true}, EncryptionOptions{Direct: true}, EncryptionOptions{All: true}
	for _, c := range []struct {
		options EncryptionOptions
		body    string
		want    bool
	}{
		{EncryptionOptions{}, `{}`, false}, {private, `{}`, true}, {direct, `{}`, false}, {all, `{}`, true},
		{private, `{"visibility":"public"}`, false}, {all, `{"visibility":"public"}`, true}, {private, `{"preset":"public_chat"}`, false},
		{private, `{"visibility":"public","preset":"private_chat"}`, true}, {direct, `{"is_direct":true}`, true},
		{direct, `{"is_direct":true,"preset":"trusted_private_chat"}`, true}, {all, `{"creation_content":{"type":"m.space"}}`, false},
		{private, `{"initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"public"}}]}`, false},
		{private, `{"preset":"public_chat","initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"knock"}}]}`, true},
		{private, `{"initial_state":[{"type":"m.room.encryption","content":{}}]}`, true},
	} {
		var req createRequest
		if err := json.Unmarshal([]byte(c.body), &req); err != nil {
			t.Fatal(err)
		}
		create, err := req.check()
		if err != nil {
			t.Fatal(err)
		}
		c.options.encrypt(create)
		n := 0
		for _, e := range create.InitialState {
			if e.Type == encryptionType && strings.Contains(string(e.Content), "megolm") {
				n++
			}
		}
		if n > 1 || (n == 1) != c.want {
			t.Errorf("%+v %s: %s", c.options, c.body, mustJSON(create.InitialState))
		}
	}
}

func TestMessagesInTheClearAreRefused(t *testing.T) {
	for name, options := range map[string]EncryptionOptions{
		"none": {}, "private": {Private: true}, "dm": {Direct: true}, "all": {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, true, func(d *Deps) { d.Encryption = options })
			alice := s.user("alice")
			s.rooms.states = map[string]string{"!public:test m.room.join_rules": `{"join_rule":"public"}`, "!direct:test m.room.join_rules": `{"join_rule":"public"}`}
			s.must("PUT", "/user/@alice:test/account_data/m.direct", alice, `{"@bob:test":["!other:test","!direct:test"]}`)
			for room, refused := range map[string]bool{
				"!public:test": options.All, "!private:test": options.All || options.Private, "!direct:test": options.All || options.Direct,
			} {
				for i, kind := range []string{"m.room.message", "m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start"} {
					path := "/rooms/" + room + "/send/" + kind + "/" + string(rune('a'+i))
					s.rooms.took(roomapi.Send.Subject)
					if refused {
						s.refuse(403, "M_FORBIDDEN", "PUT", path, alice, `{"body":"x"}`)
						if got := s.rooms.took(roomapi.Send.Subject); got != "" {
							t.Errorf("sent: %s", got)
						}
					} else {
						s.must("PUT", path, alice, `{"body":"x"}`)
					}
				}
				for _, kind := range []string{"m.room.encrypted", "m.reaction"} {
					s.must("PUT", "/rooms/"+room+"/send/"+kind+"/z", alice, `{"x":1}`)
				}
			}
			features := s.must("GET", "/_matrix/client/versions", "", "").body["unstable_features"].(map[string]any)
			for feature, want := range map[string]bool{
				"private": options.Private || options.All, "trusted_private": options.any(), "public": options.All,
			} {
				if features["io.element.e2ee_forced."+feature] != want {
					t.Errorf("%s: %v", feature, features)
				}
			}
		})
	}
}
