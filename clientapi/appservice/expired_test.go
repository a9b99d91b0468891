package appservice

import (
	"testing"

	"hearth/roomserver/roomapi"
)

func TestExpired(t *testing.T) {
	key := ""
	for name, c := range map[string]struct {
		ev   *roomapi.Event
		want bool
	}{
		"none":            {nil, false},
		"never":           {&roomapi.Event{}, false},
		"a moment before": {&roomapi.Event{Expires: 1001}, false},
		"then":            {&roomapi.Event{Expires: 1000}, true},
		"state":           {&roomapi.Event{Expires: 1000, StateKey: &key}, false},
	} {
		if got := expired(c.ev, 1000); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
