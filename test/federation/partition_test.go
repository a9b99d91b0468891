package federation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"hearth/internal/testkit/cut"
	"hearth/internal/testkit/testca"
	"hearth/test/harness"
)

// TestPartition: three servers, one of them a Synapse, are cut from one another again and
// again while users of all change the state of a room; healed, all have the same state.
func TestPartition(t *testing.T) {
	ca := testca.New(t)
	a, cutA := behind(t, ca)
	b, cutB := behind(t, ca)
	c, cutC := synapseBehind(t, ca)
	cuts := []*cut.Proxy{cutA, cutB, cutC}
	for _, version := range []string{"6", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			alice, bob, carol := a.account(t, fresh("alice")), b.account(t, fresh("bob")), c.account(t, fresh("carol"))
			users := []*user{alice, bob, carol}
			levels := map[string]any{bob.UserID: 100, carol.UserID: 100}
			if version != "12" { // there the creator stands above all numbers
				levels[alice.UserID] = 100
			}
			room := alice.room(t, map[string]any{
				"preset": "public_chat", "room_version": version, "power_level_content_override": map[string]any{"users": levels},
			})
			for _, u := range users[1:] {
				u.join(t, room, a)
				alice.seesMember(t, room, u.UserID, "join")
			}
			bob.seesMember(t, room, carol.UserID, "join")
			guests := []string{"@one:" + a.name, "@two:" + b.name, "@three:" + c.Name}
			for round := range 3 {
				for _, p := range cuts {
					p.Cut()
				}
				for i := range 4 {
					for _, u := range users {
						changeSomething(t, random, u, room, guests, levels, fmt.Sprintf("%d.%d", round, i))
					}
				}
				for _, p := range cuts {
					p.Heal()
				}
				for _, u := range users {
					// What a server has to say makes the others notice that it is back.
					if _, err := u.SendText(room, fresh("t"), fmt.Sprintf("%s is back in round %d", u.UserID, round)); err != nil {
						t.Logf("%s: %v", u.UserID, err)
					}
				}
				same(t, room, users...)
			}
		})
	}
}

// changeSomething changes a random piece of state, or talks.
func changeSomething(t *testing.T, random *rand.Rand, u *user, room string, guests []string, levels map[string]any, mark string) {
	t.Helper()
	var err error
	switch random.IntN(6) {
	case 0:
		_, err = u.SetState(room, "m.room.name", "", map[string]string{"name": u.UserID + " " + mark})
	case 1:
		_, err = u.SetState(room, "m.room.topic", "", map[string]string{"topic": u.UserID + " " + mark})
	case 2:
		content := map[string]any{"users": levels, "events_default": 0, "state_default": 50, "redact": 10 + random.IntN(40), "ban": 50, "kick": 50, "invite": 0}
		_, err = u.SetState(room, "m.room.power_levels", "", content)
		var refused *harness.MatrixError
		if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
			err = nil // in version 12 the default levels are above those of some
		}
	case 3:
		guest := guests[random.IntN(len(guests))]
		verb := []string{"ban", "unban"}[random.IntN(2)]
		_, err2 := u.Do(http.MethodPost, harness.Path("rooms", room, verb), map[string]string{"user_id": guest}, nil)
		if err2 != nil && err2.Status != http.StatusForbidden && err2.Status != http.StatusBadRequest {
			err = err2
		}
	case 4:
		_, err = u.SetState(room, "m.room.join_rules", "", map[string]string{"join_rule": []string{"public", "invite"}[random.IntN(2)]})
	default:
		_, err = u.SendText(room, fresh("t"), u.UserID+" "+mark)
	}
	if err != nil {
		t.Fatalf("%s in %s: %v", u.UserID, mark, err)
	}
}
