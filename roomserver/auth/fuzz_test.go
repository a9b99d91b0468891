package auth_test

import (
	"errors"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// Any content in the event and in the state: no panic, and an answer that is
// allowed or a rejection.
func FuzzCheck(f *testing.F) {
	f.Add(uint8(9), "m.room.member", "@user:b", `{"membership":"join"}`, `{"join_rule":"restricted"}`, `{"users":{"@mod:a":50}}`)
	f.Add(uint8(11), "m.room.power_levels", "", `{"users":{"@creator:a":1},"events":{"a":null}}`, `{}`, `{"notifications":{"room":1e2}}`)
	f.Add(uint8(0), "m.room.power_levels", "", `{"ban":"+5","users":{"@a:b":5.5}}`, `{"join_rule":[]}`, `{"users":{"@creator:a":" 100 "}}`)
	f.Add(uint8(5), "m.room.member", "@nobody:b", `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@nobody:b","token":"t","signatures":{"a":{"ed25519:a":"AA"}}}}}`, `{"public_key":"AA"}`, `{}`)
	f.Add(uint8(1), "m.room.aliases", "-", `{}`, `{}`, `{}`)
	f.Add(uint8(11), "m.room.create", "", `{"additional_creators":[null]}`, `{}`, `{}`)
	f.Fuzz(func(t *testing.T, version uint8, typ, key, content, rules, powerLevels string) {
		v := pdu.Versions()[int(version)%12]
		var c [3][]byte
		for i, src := range []string{content, rules, powerLevels} {
			var err error
			if c[i], err = pdu.Canonical([]byte(src), v.StrictJSON); err != nil {
				return
			}
		}
		r := newRoom(t, v)
		for _, sender := range []string{creator, user, nobody} {
			ev := r.load(event{typ: typ, sender: sender, key: key, content: string(c[0])})
			r := r.clone()
			r.put(state("m.room.join_rules", creator, string(c[1])), levels(creator, string(c[2])),
				event{typ: "m.room.third_party_invite", sender: sender, key: "t", content: string(c[1])})
			var rejection *auth.Rejection
			if err := auth.Check(ev, r.state); err != nil && !errors.As(err, &rejection) {
				t.Errorf("not a rejection: %v", err)
			}
			auth.SelectFor(ev)
			auth.MayRedact(ev, ev, r.state)
			p := auth.LevelsOf(v, r.state)
			for _, level := range []int64{p.User(user), p.ForEvent(typ, true), p.Notification(key), p.Ban} {
				if level >= auth.Infinite {
					t.Errorf("a value in an event is infinite: %s", c[2])
				}
			}
			if _, err := auth.ParsePowerLevels(v, c[0]); err != nil && !errors.As(err, &rejection) {
				t.Errorf("not a rejection: %v", err)
			}
		}
	})
}

func BenchmarkCheckMessage(b *testing.B) {
	for _, id := range []string{"10", "12"} {
		v, _ := pdu.Version(id)
		r := newRoom(b, v)
		ev := r.load(message(user))
		b.Run("v"+id, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := auth.Check(ev, r.state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
