package pdu

import (
	"encoding/base64"
	"strings"
	"testing"

	"hearth/internal/merr"
)

func appendBase64Text(dst, raw []byte) []byte { return base64.RawStdEncoding.AppendEncode(dst, raw) }

func TestBuildResultPassesParse(t *testing.T) {
	key := "state \"key\"\n日本"
	each(t, func(t *testing.T, v *RoomVersion) {
		tmpl := Template{RoomID: "!room:example.org", Type: "org.example.\"type\"", Sender: "@alice:example.org", StateKey: &key,
			Content: []byte(` {"z": "\u0041", "a\"b": {"y":1,"x":[true,null]}} `), Depth: MaxDepth, OriginServerTS: -1}
		if v.DomainlessRoomIDs {
			tmpl.RoomID = "!" + strings.Repeat("a", 43)
		}
		built, err := Build(v, tmpl, testSigner())
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := Canonical(built.JSON, v.StrictJSON)
		if err != nil || string(canonical) != string(built.JSON) {
			t.Errorf("not canonical: %s, %v", built.JSON, err)
		}
		e, err := Parse(v, built.JSON)
		if err != nil || e.EventID != built.EventID || e.Redacted || *e.StateKey != key || e.Type != tmpl.Type {
			t.Errorf("%+v, %v", e, err)
		}
		if want := `{"a\"b":{"x":[true,null],"y":1},"z":"A"}`; string(e.Content) != want {
			t.Errorf("content %s, want %s", e.Content, want)
		}
		s := testSigner()
		if err := e.VerifySignature(s.ServerName, s.KeyID, s.public()); err != nil {
			t.Error(err)
		}
	})
}

func TestBuildSizeLimits(t *testing.T) {
	v, _ := Version("10")
	base := Template{RoomID: "!room:example.org", Type: "m.room.message", Sender: "@alice:example.org", Content: []byte(`{}`)}
	small, err := Build(v, base, testSigner())
	if err != nil {
		t.Fatal(err)
	}
	body := MaxEventSize - len(small.JSON) - len(`"b":""`)
	long, key := strings.Repeat("é", 128), strings.Repeat("k", 256)
	tests := []struct {
		name string
		edit func(t *Template)
		code string
	}{
		{"exactly the limit", func(t *Template) { t.Content = []byte(`{"b":"` + strings.Repeat("x", body) + `"}`) }, ""},
		{"one byte more", func(t *Template) { t.Content = []byte(`{"b":"` + strings.Repeat("x", body+1) + `"}`) }, "M_TOO_LARGE"},
		{"far more", func(t *Template) { t.Content = []byte(`{"b":"` + strings.Repeat("x", 2<<20) + `"}`) }, "M_TOO_LARGE"},
		{"type", func(t *Template) { t.Type = long }, "M_TOO_LARGE"},
		{"state_key", func(t *Template) { t.StateKey = &key }, "M_TOO_LARGE"},
		{"sender", func(t *Template) { t.Sender = "@" + key + ":example.org" }, "M_TOO_LARGE"},
		{"room_id", func(t *Template) { t.RoomID = "!" + key + ":example.org" }, "M_TOO_LARGE"},
		{"content is no object", func(t *Template) { t.Content = []byte(`[]`) }, "M_BAD_JSON"},
		{"content is no JSON", func(t *Template) { t.Content = nil }, "M_NOT_JSON"},
		{"fraction", func(t *Template) { t.Content = []byte(`{"a":1.5}`) }, "M_BAD_JSON"},
		{"type is no UTF-8", func(t *Template) { t.Type = "\xff" }, "M_BAD_JSON"},
		{"NUL in state_key", func(t *Template) { k := "\x00"; t.StateKey = &k }, "M_BAD_JSON"},
		{"sender is no user id", func(t *Template) { t.Sender = "alice" }, "M_BAD_JSON"},
		{"no room_id", func(t *Template) { t.RoomID = "" }, "M_BAD_JSON"},
		{"depth", func(t *Template) { t.Depth = MaxDepth + 1 }, "M_BAD_JSON"},
		{"prev_events", func(t *Template) { t.PrevEvents = make([]Ref, 1) }, "M_BAD_JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl := base
			tt.edit(&tmpl)
			e, err := Build(v, tmpl, testSigner())
			if tt.code == "" {
				if err != nil || len(e.JSON) != MaxEventSize {
					t.Fatalf("%v", err)
				}
				if _, err := Parse(v, e.JSON); err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, tt.code)
		})
	}
	if _, err := Build(v, base, Signer{ServerName: "a", KeyID: "b", Key: make([]byte, 5)}); merr.From(err).Status != 500 {
		t.Errorf("short key: %v", err)
	}
}

func TestRefHasHashOnlyForFormatOne(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		e, err := Parse(v, sample(t, v))
		if err != nil {
			t.Fatal(err)
		}
		r := e.Ref()
		if r.EventID != e.EventID || (len(r.SHA256) == 32) != (v.EventFormat == 1) {
			t.Errorf("%+v", r)
		}
		if len(e.ReferenceHash()) != 32 {
			t.Error("reference hash")
		}
	})
}
