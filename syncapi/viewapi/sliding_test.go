package viewapi

import (
	"errors"
	"math"
	"testing"
)

func TestPosRoundTrip(t *testing.T) {
	for _, want := range []Pos{{}, {255, math.MaxUint64, math.MaxUint64, Token{Room: math.MaxInt64}}, {1, 2, 3, Token{Room: 4, User: 5, Typing: 6}}, {25, 25, 25 * 36, Token{}}} {
		got, err := ParsePos(want.String())
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "p", "s1_2_3", "p1.2.s1_2_3", "p1.2.3.", "p1.2.3.t5", "p100.2.3.s1", "1.2.3.s1", "p-1.2.3.s1", "pp1.2.3.s1", "p1.p.3", "p1.2.3.s1.2"} {
		if _, err := ParsePos(bad); !errors.Is(err, UnknownPos()) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParsePos(f *testing.F) {
	f.Add("p1.2.3.s1_2_3")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePos(s)
		if err != nil {
			return
		}
		if again, err := ParsePos(p.String()); err != nil || again != p {
			t.Errorf("%q: %+v, then %+v, %v", s, p, again, err)
		}
	})
}
