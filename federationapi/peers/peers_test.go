package peers_test

import (
	"strings"
	"testing"

	"hearth/federationapi/peers"
)

func TestList(t *testing.T) {
	for _, tc := range []struct {
		list   peers.List
		server string
		want   bool
	}{
		{peers.List{}, "a.example", true},
		{peers.List{Deny: []string{"a.example"}}, "a.example", false},
		{peers.List{Deny: []string{"a.example"}}, "A.Example", false},
		{peers.List{Deny: []string{"A.example"}}, "a.example:8448", false},
		{peers.List{Deny: []string{"a.example"}}, "b.a.example", true},
		{peers.List{Deny: []string{"*.example"}}, "b.a.example", false},
		{peers.List{Deny: []string{"*.example"}}, "example", true},
		{peers.List{Deny: []string{"a?.example"}}, "ab.example", false},
		{peers.List{Deny: []string{"a?.example"}}, "a.example", true},
		{peers.List{Deny: []string{"a.example:1"}}, "a.example:2", true},
		{peers.List{Deny: []string{"a.example:1"}}, "a.example:1", false},
		{peers.List{Deny: []string{"::1"}}, "[::1]:8448", false},
		{peers.List{Allow: []string{"*.club"}}, "a.club", true},
		{peers.List{Allow: []string{"*.club"}}, "a.example", false},
		{peers.List{Allow: []string{"*"}, Deny: []string{"a.club"}}, "a.club", false},
		{peers.List{Deny: []string{"axexample"}}, "a.example", true},
		{peers.List{Deny: []string{strings.Repeat("*a", 100) + "b"}}, strings.Repeat("a", 250), true},
	} {
		if got := tc.list.Allows(tc.server); got != tc.want {
			t.Errorf("%+v: %s is allowed: %v", tc.list, tc.server, got)
		}
	}
}
