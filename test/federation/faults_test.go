package federation

import (
	"fmt"
	"testing"
	"time"
)

// TestAbsence: a server that was away catches up, and what was said to it and by it in the
// meantime is there on both sides.
func TestAbsence(t *testing.T) {
	ours, theirs := servers(t)
	for _, pair := range []struct {
		name  string
		stays peer
		goes  peer
	}{
		{"a Hearth is killed, a Hearth stays", ours[1], ours[0]},
		{"a Hearth is killed, Synapse stays", theirs[0], ours[0]},
		{"Synapse is killed", ours[0], theirs[0]},
	} {
		t.Run(pair.name, func(t *testing.T) {
			alice, bob := pair.stays.account(t, fresh("alice")), pair.goes.account(t, fresh("bob"))
			room := alice.room(t, map[string]any{"preset": "public_chat"})
			bob.join(t, room, pair.stays)
			alice.seesMember(t, room, bob.UserID, "join")
			bob.say(t, room, "here")
			alice.sees(t, room, "here")
			for round := range 3 {
				pair.goes.kill()
				for i := range 15 {
					alice.say(t, room, fmt.Sprintf("round %d, message %d", round, i))
				}
				alice.state(t, room, "m.room.topic", "", map[string]string{"topic": fmt.Sprint("round ", round)})
				time.Sleep(time.Second)
				pair.goes.restart()
				bob.say(t, room, fmt.Sprintf("back in round %d", round))
				alice.sees(t, room, fmt.Sprintf("back in round %d", round))
				bob.seesState(t, room, "m.room.topic", "", fmt.Sprint("round ", round))
			}
			alice.say(t, room, "the end")
			bob.sees(t, room, "the end")
			same(t, room, alice, bob)
		})
	}
}
