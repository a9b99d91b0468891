package roomserver

import (
	"fmt"
	"slices"
	"testing"
)

// TestManyHosts follows the servers of a room through many changes.
func TestManyHosts(t *testing.T) {
	h, want := newHosts("own.example", nil), map[string]int64{}
	change := func(server string, delta int64) {
		h = h.with(server, delta)
		want[server] = max(want[server]+delta, 0)
	}
	for round := range 4 {
		for i := range 200 {
			change(fmt.Sprintf("s%d.example", i), int64(1+(i+round)%2))
		}
		for i := range 100 {
			change(fmt.Sprintf("s%d.example", i*2), -5)
		}
		change("own.example", 1)
		var others []string
		for server, n := range want {
			if h.joined(server) != n || h.has(server) != (n > 0) {
				t.Fatalf("%s has %d members, want %d", server, h.joined(server), n)
			}
			if n > 0 && server != "own.example" {
				others = append(others, server)
			}
		}
		slices.Sort(others)
		if !slices.Equal(h.list(), others) || h.count() != len(others) || !h.local() {
			t.Fatalf("%d servers, want %d", h.count(), len(others))
		}
	}
}
