package stateres_test

import (
	"maps"
	"testing"
	"fmt"
	"hearth/internal/pdu"
)

func TestDbg(t *testing.T) {
	for _, i := range []int{0, 9} {
		v := pdu.Versions()[i]
		n := 0
		kinds := map[string]int{}
		for seed := range 12 {
			s := newSim(t, v, uint64(seed), 9)
			for range 60 {
				s.step(4, s.resolve)
			}
			for range 20 {
				var sets []stateMap
				for range 2 {
					sets = append(sets, s.list[s.r.IntN(len(s.list))].after)
				}
				got, want := s.resolve(sets), library(s, sets)
				if !maps.Equal(got, want) {
					n++
					for k := range got {
						if got[k] != want[k] {
							kind := k.Type
							if want[k] == 0 { kind += " libabsent" } else if want[k] > got[k] { kind += " libnewer" } else { kind += " libolder" }
							kinds[kind]++
						}
					}
					for k := range want { if got[k] == 0 { kinds[k.Type+" we absent"]++ } }
					if n <= 3 {
						for k := range got { if got[k] != want[k] {
							fmt.Println(v.ID, k, "ours", got[k], "lib", want[k], "sets", sets[0][k], sets[1][k])
							for _, x := range []int64{got[k], want[k]} { if x != 0 { e := s.get(x); fmt.Println("   ", x, e.ev.Sender, string(e.ev.Content), e.ev.OriginServerTS, e.ev.Depth, e.auth) } }
						}}
						for k := range want { if got[k] == 0 { fmt.Println("we absent", k) } }
					}
				}
			}
		}
		fmt.Println(v.ID, n, kinds)
	}
}
