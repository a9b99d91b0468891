package xmatrix

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"hearth/internal/pdu"
)

func signer(name string) pdu.Signer {
	return pdu.Signer{ServerName: name, KeyID: "ed25519:k_1", Key: ed25519.NewKeyFromSeed(make([]byte, 32))}
}

func TestParse(t *testing.T) {
	full := Header{Origin: "a.example:8448", Destination: "b.example", KeyID: "ed25519:k_1", Signature: "AB/+"}
	old := full
	old.Destination = ""
	six := full
	six.Origin = "[::1]:8448"
	for _, tc := range []struct {
		name, value string
		want        Header
	}{
		{"ours", `X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:k_1",sig="AB/+"`, full},
		{"any case, any order", `x-mAtRiX SIG="AB/+",Key="ed25519:k_1",deSTINATION="b.example",ORIGIN="a.example:8448"`, full},
		{"without quotes", `X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:k_1,sig=AB/+`, full},
		{"an address without quotes", `X-Matrix origin=[::1]:8448,destination=b.example,key=ed25519:k_1,sig=AB/+`, six},
		{"spaces", "X-Matrix    origin = \"a.example:8448\" \t,\t destination=b.example , key=ed25519:k_1 ,sig=\"AB/+\"  ", full},
		{"backslashes", `X-Matrix origin="a\.example:8448",destination="\b.example",key="ed25519:k_1",sig="AB\/+"`, full},
		{"unknown parameters", `X-Matrix x="\"",origin=a.example:8448,y=z,destination=b.example,key=ed25519:k_1,sig=AB/+`, full},
		{"empty elements", `X-Matrix ,, origin=a.example:8448,,destination=b.example,key=ed25519:k_1,sig=AB/+,`, full},
		{"no destination", `X-Matrix origin="a.example:8448",key="ed25519:k_1",sig="AB/+"`, old},
	} {
		if got, err := Parse(tc.value); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const rest = `,destination="b",key="ed25519:k",sig="AB"`
	for _, value := range []string{
		"X-Matrix", "X-Matrix ", "X-Matrix origin", "X-Matrix origin=", `X-Matrix origin="a`, `X-Matrix origin="a\`,
		`X-Matrix origin=""` + rest, `X-Matrix origin="a"` + rest + `,origin="b"`, `X-Matrix origin="a",ORIGIN="a"` + rest,
		`X-Matrix origin="a/../b"` + rest, `X-Matrix origin="a b"` + rest, "X-Matrix origin=\"a\x00\"" + rest,
		"X-Matrix origin=\"a\xff\"" + rest, `X-Matrix origin="a" destination="b",key="ed25519:k",sig="AB"`,
		`X-Matrix origin="a"x` + rest, `X-Matrix =a` + rest, `X-Matrix origin="a",key="rsa:k",sig="AB"`,
		`X-Matrix origin="a",key="ed25519:",sig="AB"`, `X-Matrix origin="a",key="ed25519:a-b",sig="AB"`,
		`X-Matrix origin="a",key="ed25519:k"`, `X-Matrix origin="a",sig="AB"`, `X-Matrix key="ed25519:k",sig="AB"`,
		`X-Matrix origin="a"` + rest + strings.Repeat(",x=y", maxParams), `X-Matrix origin="a"` + rest + strings.Repeat(" ", maxHeader),
	} {
		if h, err := Parse(value); err == nil || errors.Is(err, ErrNoHeader) {
			t.Errorf("%.80q: %+v, %v", value, h, err)
		}
	}
	for _, value := range []string{"", "Bearer x", "X-Matrix2 origin=a", "X-MatrixX"} {
		if _, err := Parse(value); !errors.Is(err, ErrNoHeader) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestSignAndVerify(t *testing.T) {
	s := signer("a.example")
	public := s.Key.Public().(ed25519.PublicKey)
	r := Request{Method: "PUT", URI: "/_matrix/x/%21a?b=%22", Destination: "b.example", Content: []byte(`{"a\"b":100000,"signatures":{}}`)}
	value, err := Sign(r, s)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Parse(value)
	if err != nil || h.Origin != "a.example" || h.Destination != "b.example" || h.KeyID != s.KeyID {
		t.Fatalf("%+v %v", h, err)
	}
	if err := h.Verify(r, public); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(r *Request, h *Header){
		"method":           func(r *Request, _ *Header) { r.Method = "POST" },
		"uri":              func(r *Request, _ *Header) { r.URI = "/_matrix/x/!a?b=%22" },
		"destination":      func(r *Request, _ *Header) { r.Destination = "c.example" },
		"content":          func(r *Request, _ *Header) { r.Content = []byte(`{"a\"b":1000000,"signatures":{}}`) },
		"no content":       func(r *Request, _ *Header) { r.Content = nil },
		"origin":           func(_ *Request, h *Header) { h.Origin = "d.example" },
		"key id":           func(_ *Request, h *Header) { h.KeyID = "ed25519:k_2" },
		"signature":        func(_ *Request, h *Header) { h.Signature = strings.Repeat("A", 86) },
		"not base64":       func(_ *Request, h *Header) { h.Signature = `","x":"` },
		"short signature":  func(_ *Request, h *Header) { h.Signature = "AAAA" },
		"origin injection": func(_ *Request, h *Header) { h.Origin = `a.example":{},"a.example` },
	} {
		r, changed := r, h
		change(&r, &changed)
		// The key stays: a name that is not covered by the signature is found here.
		if err := changed.Verify(r, public); err == nil && name != "key id" {
			t.Errorf("%s is not covered", name)
		}
	}
	if err := h.Verify(r, public[:31]); err == nil {
		t.Error("a short key is taken")
	}
}

// FuzzParse: no input panics, and what is accepted can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add(`X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:k_1",sig="AB/+"`)
	f.Add(`x-matrix origin=a , key=ed25519:k,sig="\"\\"`)
	f.Add(`X-Matrix ,,=`)
	s := signer("b.example")
	f.Fuzz(func(t *testing.T, value string) {
		h, err := Parse(value)
		if err != nil {
			return
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(h.Signature)
		again, err := Parse(`X-Matrix origin="` + h.Origin + `",key="` + h.KeyID + `",sig="` + quoted + `"`)
		if err != nil && len(value) < maxHeader/2 || err == nil && (again.Origin != h.Origin || again.Signature != h.Signature) {
			t.Fatalf("%q: %+v, then %+v, %v", value, h, again, err)
		}
		if h.Verify(Request{Method: "GET", URI: "/"}, s.Key.Public().(ed25519.PublicKey)) == nil {
			t.Fatalf("%q is a valid signature", value)
		}
	})
}
