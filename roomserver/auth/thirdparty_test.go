package auth_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

func identityKey(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

func public(key ed25519.PrivateKey) string {
	return base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

func signed(t testing.TB, body string, key ed25519.PrivateKey) string {
	t.Helper()
	out, err := pdu.SignJSON([]byte(body), pdu.Signer{ServerName: "id.example", KeyID: "ed25519:0", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestThirdPartyInvite(t *testing.T) {
	key, other := identityKey(1), identityKey(2)
	source := func(content string) []event {
		return []event{{typ: "m.room.third_party_invite", sender: user, key: "tok", content: content}}
	}
	one := source(`{"public_key":"` + public(key) + `"}`)
	invite := func(target, signed string) event {
		return member(user, target, "invite", `"third_party_invite":{"display_name":"x","signed":`+signed+`}`)
	}
	body := func(mxid, token string) string { return `{"mxid":"` + mxid + `","token":"` + token + `"}` }
	good := signed(t, body(nobody, "tok"), key)
	at := func(n int) string {
		return fmt.Sprintf("1-5=5.3.1.%d 6-7=4.3.1.%d 8-11=4.4.1.%d 12=5.4.1.%d", n, n, n, n)
	}
	fromOther := invite(nobody, good)
	fromOther.sender = mod
	urlSafe := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	checkRows(t, []row{
		{"fine", one, invite(nobody, good), "1-12=ok"},
		{"sender need not be a member", append([]event{member(user, user, "leave")}, one...), invite(nobody, good), "1-12=ok"},
		{"target joined", one, invite(mod, signed(t, body(mod, "tok"), key)), "1-12=ok"},
		{"banned", one, invite(banned, signed(t, body(banned, "tok"), key)), at(1)},
		{"no signed", one, member(user, nobody, "invite", `"third_party_invite":{"display_name":"x"}`), at(2)},
		{"third_party_invite null", one, member(user, nobody, "invite", `"third_party_invite":null`), at(2)},
		{"signed null", one, invite(nobody, "null"), at(3)},
		{"no mxid", one, invite(nobody, signed(t, `{"token":"tok"}`, key)), at(3)},
		{"no token", one, invite(nobody, signed(t, `{"mxid":"`+nobody+`"}`, key)), at(3)},
		{"token is a number", one, invite(nobody, signed(t, `{"mxid":"`+nobody+`","token":1}`, key)), at(3)},
		{"other mxid", one, invite(nobody, signed(t, body(left, "tok"), key)), at(4)},
		{"other token", one, invite(nobody, signed(t, body(nobody, "other"), key)), at(5)},
		{"no such invite", nil, invite(nobody, good), at(5)},
		{"other sender", one, fromOther, at(6)},
		{"other key", one, invite(nobody, signed(t, body(nobody, "tok"), other)), at(8)},
		{"no signatures", one, invite(nobody, body(nobody, "tok")), at(8)},
		{"changed after signing", one, invite(nobody, strings.Replace(good, `"mxid"`, `"more":1,"mxid"`, 1)), at(8)},
		{"unsigned does not count", one, invite(nobody, strings.Replace(good, `"mxid"`, `"unsigned":{},"mxid"`, 1)), "1-12=ok"},
		{"key list", source(`{"public_key":"` + public(other) + `","public_keys":[{"public_key":"` + public(other) + `"},{"public_key":"` + public(key) + `"}]}`), invite(nobody, good), "1-12=ok"},
		{"URL-safe key", source(`{"public_key":"` + urlSafe + `"}`), invite(nobody, good), "1-12=ok"},
		{"padded key", source(`{"public_key":"` + public(key) + `="}`), invite(nobody, good), "1-12=ok"},
		{"no key", source(`{}`), invite(nobody, good), at(8)},
		{"short key", source(`{"public_key":"AAAA"}`), invite(nobody, good), at(8)},
		{"empty key", source(`{"public_key":""}`), invite(nobody, good), at(8)},
		{"long key", source(`{"public_key":"` + public(key) + `AAAA"}`), invite(nobody, good), at(8)},
		{"key is no base64", source(`{"public_key":"!!!"}`), invite(nobody, good), at(8)},
		{"key is a number", source(`{"public_key":5,"public_keys":[5,null,{"public_key":null}]}`), invite(nobody, good), at(8)},
		{"keys is an object", source(`{"public_keys":{"public_key":"` + public(key) + `"}}`), invite(nobody, good), at(8)},
		{"short signature", one, invite(nobody, `{"mxid":"`+nobody+`","token":"tok","signatures":{"id.example":{"ed25519:0":"AAAA"}}}`), at(8)},
		{"signatures of other shapes", one, invite(nobody, `{"mxid":"`+nobody+`","token":"tok","signatures":{"a":5,"b":null,"c":{"ed25519:0":5}}}`), at(8)},
		{"signatures is a list", one, invite(nobody, `{"mxid":"`+nobody+`","token":"tok","signatures":[]}`), at(8)},
		{"other algorithm", one, invite(nobody, strings.Replace(good, "ed25519:0", "rsa:0", 1)), at(8)},
		{"bad signature before a good one", one, invite(nobody, strings.Replace(good, `"ed25519:0"`, `"ed25519:!":"AAAA","ed25519:0"`, 1)), "1-12=ok"},
	})
}

// Many keys times many signatures are not all tried.
func TestThirdPartyInviteIsBounded(t *testing.T) {
	var keys, signatures []string
	for i := range 500 {
		keys = append(keys, `{"public_key":"`+public(identityKey(byte(i)))+`"}`)
		signatures = append(signatures, fmt.Sprintf(`"ed25519:%03d":"%s"`, i, base64.RawStdEncoding.EncodeToString(make([]byte, 64))))
	}
	r := newRoom(t, pdu.Versions()[9])
	r.put(event{typ: "m.room.third_party_invite", sender: user, key: "tok", content: `{"public_keys":[` + strings.Join(keys, ",") + `]}`})
	ev := r.load(member(user, nobody, "invite", `"third_party_invite":{"signed":{"mxid":"`+nobody+`","token":"tok","signatures":{"a":{`+
		strings.Join(signatures, ",")+`}}}}`))
	start := time.Now()
	if got := ruleOf(t, auth.Check(ev, r.state)); got != "4.4.1.8" {
		t.Errorf("got %s", got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}
