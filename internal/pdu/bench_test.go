package pdu

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
)

func testSigner() Signer {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, "a seed for tests, never for use.")
	return Signer{ServerName: "example.org", KeyID: "ed25519:test", Key: ed25519.NewKeyFromSeed(seed)}
}

// messageJSON is a signed message event of 678 bytes whose keys come in the order
// in which other servers send them.
func messageJSON(tb testing.TB) []byte {
	tb.Helper()
	v, _ := Version("10")
	hash := strings.Repeat("Abcdefghij_klmno-pqrst", 2)[:43]
	content := fmt.Sprintf(`{"body":"%s","msgtype":"m.text"}`, strings.Repeat("hello wörld ", 3))
	e, err := Build(v, Template{
		RoomID: "!jEsUZKDJdhlrceRyVU:example.org", Type: "m.room.message", Sender: "@example:example.org",
		Content: []byte(content), Depth: 12345, OriginServerTS: 1432735824653,
		PrevEvents: []Ref{{EventID: "$" + hash}},
		AuthEvents: []Ref{{EventID: "$" + hash}, {EventID: "$" + hash[1:] + "A"}, {EventID: "$" + hash[2:] + "AB"}},
	}, testSigner())
	if err != nil {
		tb.Fatal(err)
	}
	keys := []string{"type", "room_id", "sender", "content", "depth", "prev_events", "auth_events", "origin_server_ts", "hashes", "signatures"}
	var out strings.Builder
	for i, k := range keys {
		val, _ := Get(e.JSON, k)
		fmt.Fprintf(&out, "%c%q:%s", "{,"[min(i, 1)], k, val)
	}
	pad := 678 - out.Len() - len(`,"unsigned":{"age_ts":1432735824653}}`)
	out.WriteString(`,"unsigned":{"age_ts":1432735824653}}`)
	return append([]byte(out.String()), strings.Repeat(" ", max(pad, 0))...)
}

func BenchmarkParse(b *testing.B) {
	v, _ := Version("10")
	src := messageJSON(b)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(v, src); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	v, _ := Version("10")
	e, err := Parse(v, messageJSON(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(v, e.JSON, e.EventID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	src := messageJSON(b)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical(src, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	v, _ := Version("10")
	s := testSigner()
	t := Template{
		RoomID: "!jEsUZKDJdhlrceRyVU:example.org", Type: "m.room.message", Sender: "@example:example.org",
		Content: []byte(`{"msgtype":"m.text","body":"hello"}`), Depth: 5, OriginServerTS: 1432735824653,
		PrevEvents: []Ref{{EventID: "$abc"}}, AuthEvents: []Ref{{EventID: "$def"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(v, t, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	v, _ := Version("10")
	e, err := Parse(v, messageJSON(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Redact(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifySignature(b *testing.B) {
	v, _ := Version("10")
	e, err := Parse(v, messageJSON(b))
	if err != nil {
		b.Fatal(err)
	}
	s := testSigner()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.VerifySignature(s.ServerName, s.KeyID, s.Key.Public().(ed25519.PublicKey)); err != nil {
			b.Fatal(err)
		}
	}
}
