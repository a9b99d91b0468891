package pdu

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"hearth/internal/merr"
)

// specSigner is the key of the appendices, "Cryptographic Test Vectors".
func specSigner(t *testing.T) Signer {
	t.Helper()
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	return Signer{ServerName: "domain", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}
}

func (s Signer) public() ed25519.PublicKey { return s.Key.Public().(ed25519.PublicKey) }

func TestSignJSONSpecVectors(t *testing.T) {
	s := specSigner(t)
	tests := []struct{ in, want string }{
		{`{}`, `{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`},
		{`{"one": 1, "two": "Two"}`, `{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}`},
	}
	for _, tt := range tests {
		got, err := SignJSON([]byte(tt.in), s)
		if err != nil || string(got) != tt.want {
			t.Errorf("SignJSON(%s) = %s, %v", tt.in, got, err)
		}
		if err := VerifyJSON(got, s.ServerName, s.KeyID, s.public()); err != nil {
			t.Errorf("VerifyJSON(%s): %v", got, err)
		}
	}
}

// The two events of the appendices, "Event Signing". They lack members that the
// event format requires, so they go through the parts of Build one by one.
func TestEventSigningSpecVectors(t *testing.T) {
	s := specSigner(t)
	v, _ := Version("1")
	tests := []struct{ in, eventType, hash, signature string }{
		{
			`{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,"signatures":{},"hashes":{},
			  "type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,"unsigned":{"age_ts":1000000}}`,
			"X", "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
			"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
		},
		{
			`{"content":{"body":"Here is the message content"},"event_id":"$0:domain","origin":"domain","origin_server_ts":1000000,
			  "type":"m.room.message","room_id":"!r:domain","sender":"@u:domain","signatures":{},"unsigned":{"age_ts":1000000}}`,
			"m.room.message", "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
			"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
		},
	}
	for _, tt := range tests {
		json, err := Canonical([]byte(tt.in), true)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := split(json)
		sum := f.contentHash()
		hash := base64.RawStdEncoding.EncodeToString(sum[:])
		if hash != tt.hash {
			t.Errorf("content hash %s, want %s", hash, tt.hash)
		}
		json, _ = Set(json, "hashes", []byte(`{"sha256":"`+hash+`"}`))
		f, _ = split(json)
		sig, err := s.sign(f.appendRedacted(nil, v, tt.eventType, false))
		if err != nil || string(sig) != `"`+tt.signature+`"` {
			t.Errorf("signature %s, %v; want %s", sig, err, tt.signature)
		}
	}
}

func TestUnpaddedBase64SpecExamples(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "Zg": "f", "Zm8": "fo", "Zm9v": "foo", "Zm9vYg": "foob", "Zm9vYmE": "fooba", "Zm9vYmFy": "foobar",
		"Zg==": "f", "Zm8=": "fo", "Zm9vYg==": "foob",
	} {
		got, ok := appendBase64(nil, []byte(`"`+text+`"`))
		if !ok || string(got) != want {
			t.Errorf("%s: %q %v, want %q", text, got, ok, want)
		}
	}
	for _, bad := range []string{`"Zg==="`, `"Z"`, `"Zm9-"`, `1`, `"`, `{}`, ``} {
		if got, ok := appendBase64(nil, []byte(bad)); ok {
			t.Errorf("%s decoded to %q", bad, got)
		}
	}
}

func TestSignJSONKeepsOthersAndUnsigned(t *testing.T) {
	s := specSigner(t)
	other := testSigner()
	first, err := SignJSON([]byte(`{"b":1,"unsigned":{"age":5},"a":{"z":1,"y":1.50}}`), other)
	if err != nil {
		t.Fatal(err)
	}
	both, err := SignJSON(first, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []Signer{s, other} {
		if err := VerifyJSON(both, signer.ServerName, signer.KeyID, signer.public()); err != nil {
			t.Errorf("%s: %v", signer.ServerName, err)
		}
	}
	if unsigned, _ := Get(both, "unsigned"); string(unsigned) != `{"age":5}` {
		t.Errorf("unsigned = %s", unsigned)
	}
	changed, _ := Set(both, "unsigned", []byte(`{"age":6}`))
	if err := VerifyJSON(changed, s.ServerName, s.KeyID, s.public()); err != nil {
		t.Errorf("unsigned is not covered by the signature: %v", err)
	}
	changed, _ = Set(both, "b", []byte(`2`))
	if err := VerifyJSON(changed, s.ServerName, s.KeyID, s.public()); !errors.Is(err, ErrBadSignature) {
		t.Errorf("changed value: %v", err)
	}
}

func TestSignJSONReplacesBrokenSignatures(t *testing.T) {
	s := specSigner(t)
	for _, in := range []string{`{"signatures":5}`, `{"signatures":{"domain":[]}}`, `{"signatures":null}`} {
		out, err := SignJSON([]byte(in), s)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyJSON(out, s.ServerName, s.KeyID, s.public()); err != nil {
			t.Errorf("%s: %v", out, err)
		}
	}
}

func TestSignRefusesUnusableKey(t *testing.T) {
	for _, s := range []Signer{{}, {ServerName: "a", KeyID: "ed25519:1"}, {ServerName: "a", KeyID: "ed25519:1", Key: make([]byte, 32)}} {
		_, err := SignJSON([]byte(`{}`), s)
		if e := merr.From(err); e == nil || e.Status != 500 {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestVerifyNeverPanics(t *testing.T) {
	s := testSigner()
	v, _ := Version("10")
	e, err := Parse(v, messageJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	good := s.public()
	if err := e.VerifySignature(s.ServerName, s.KeyID, good); err != nil {
		t.Fatal(err)
	}
	for _, key := range []ed25519.PublicKey{nil, {}, good[:31], append(append(ed25519.PublicKey{}, good...), 0)} {
		if err := e.VerifySignature(s.ServerName, s.KeyID, key); !errors.Is(err, ErrBadKey) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
	if err := e.VerifySignature("elsewhere.org", s.KeyID, good); !errors.Is(err, ErrNoSignature) {
		t.Errorf("other server: %v", err)
	}
	if err := e.VerifySignature(s.ServerName, "ed25519:other", good); !errors.Is(err, ErrNoSignature) {
		t.Errorf("other key: %v", err)
	}
	if err := e.VerifySignature(s.ServerName, s.KeyID, specSigner(t).public()); !errors.Is(err, ErrBadSignature) {
		t.Errorf("wrong key: %v", err)
	}
	for _, sig := range []string{`""`, `"AAAA"`, `"!!"`, `5`, `null`, `"` + strings.Repeat("A", 88) + `"`} {
		err := VerifyJSON([]byte(`{"signatures":{"a":{"ed25519:1":`+sig+`}}}`), "a", "ed25519:1", good)
		if !errors.Is(err, ErrBadSignature) {
			t.Errorf("signature %s: %v", sig, err)
		}
	}
	if e := merr.From(VerifyJSON([]byte(`{}`), "a", "b", good)); e.Status != 401 {
		t.Errorf("status %d", e.Status)
	}
}

func TestSignEventAddsSignature(t *testing.T) {
	first, second := testSigner(), specSigner(t)
	v, _ := Version("10")
	e, err := Parse(v, messageJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	both, err := e.Sign(second)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(v, both.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if again.EventID != e.EventID || again.Redacted {
		t.Errorf("id %s, redacted %v; want %s", again.EventID, again.Redacted, e.EventID)
	}
	for _, s := range []Signer{first, second} {
		if err := again.VerifySignature(s.ServerName, s.KeyID, s.public()); err != nil {
			t.Error(err)
		}
	}
	sigs := again.Signatures()
	if len(sigs) != 2 || sigs[0].Server != "domain" || sigs[1].Server != "example.org" || len(sigs[0].Bytes) != 64 || sigs[1].KeyID != "ed25519:test" {
		t.Errorf("signatures %+v", sigs)
	}
}
