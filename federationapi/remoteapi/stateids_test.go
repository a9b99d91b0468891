package remoteapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"hearth/federationapi/remoteapi"
)

func TestStateIDsOnTheBus(t *testing.T) {
	var many []string
	for i := range 30_000 {
		hash := sha256.Sum256([]byte(fmt.Sprint(i)))
		many = append(many, "$"+base64.RawURLEncoding.EncodeToString(hash[:]))
	}
	for _, want := range []remoteapi.StateIDsResponse{
		{}, {State: []string{"$a:b", "$c"}, AuthChain: []string{"$c", "$" + base64.StdEncoding.EncodeToString(make([]byte, 30))[:40] + "+/x"}},
		{State: many[:20_000], AuthChain: many[10_000:]},
		{State: []string{"$" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"}}, // is no text of a hash
	} {
		wire := want.AppendWire(nil)
		if len(wire) > 1<<20 {
			t.Errorf("%d ids take %d bytes", len(want.State)+len(want.AuthChain), len(wire))
		}
		var got remoteapi.StateIDsResponse
		if err := got.ParseWire(wire); err != nil {
			t.Fatal(err)
		}
		for _, lists := range [][2][]string{{got.State, want.State}, {got.AuthChain, want.AuthChain}} {
			a, b := slices.Clone(lists[0]), slices.Clone(lists[1])
			slices.Sort(a)
			slices.Sort(b)
			if !slices.Equal(a, b) {
				t.Errorf("got %d ids, want %d", len(a), len(b))
			}
		}
		for n := 1; n < min(len(wire), 200); n++ {
			_ = new(remoteapi.StateIDsResponse).ParseWire(wire[:n]) // must return
		}
	}
}
