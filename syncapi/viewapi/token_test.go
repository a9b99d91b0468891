package viewapi

import (
	"math"
	"testing"
)

func TestTokenRoundTrip(t *testing.T) {
	for _, want := range []Token{{}, {1, 2, 3, 4, 5, 0}, {1, 2, 3, 4, 5, 6}, {math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}} {
		got, err := ParseToken(want.String())
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
}

func TestTokenOfANewerServerIsRead(t *testing.T) {
	if got, err := ParseToken("s1_2_3_4_5_6_7"); err != nil || got != (Token{1, 2, 3, 4, 5, 6}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTokenOfAnOlderServerIsRead(t *testing.T) {
	if got, err := ParseToken("s1_2_3"); err != nil || got != (Token{1, 2, 3, 0, 0, 0}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzParseToken(f *testing.F) {
	for _, s := range []string{"s1_2_3", "s", "", "s-1", "s1__2", "szzzzzzzzzzzzzzzzzz", "s1_2_3_x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			return
		}
		if token.Room < 0 || token.User < 0 || token.Typing < 0 {
			t.Errorf("%q: %+v", s, token)
		}
		if again, err := ParseToken(token.String()); err != nil || again != token {
			t.Errorf("%q: %+v, then %+v, %v", s, token, again, err)
		}
	})
}
