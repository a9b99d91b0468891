package spec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hearth/internal/pdu"
)

// location names data/schemas.json for the validator, which fetches nothing from it.
const location = "https://schemas.invalid/spec"

// schemas are the documents of the specification, compiled when they are first used.
type schemas struct {
	compiler *jsonschema.Compiler
	document map[string]any
	compiled map[string]*jsonschema.Schema
}

func readSchemas(t testing.TB) *schemas {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(readText(t, "schemas.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for name, check := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			text, ok := v.(string)
			if !ok {
				return nil // the type is not a format's affair
			}
			return check(text)
		}})
	}
	if err := c.AddResource(location, document); err != nil {
		t.Fatal(err)
	}
	return &schemas{compiler: c, document: document.(map[string]any), compiled: map[string]*jsonschema.Schema{}}
}

// raw returns a part of the document, nil if it is not there.
func (s *schemas) raw(keys ...string) any {
	var node any = s.document
	for _, key := range keys {
		m, _ := node.(map[string]any)
		node = m[key]
	}
	return node
}

// validate checks a value against the schema at a place of the document.
func (s *schemas) validate(value any, keys ...string) error {
	pointer := location + "#"
	for _, key := range keys {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "$", "%24").Replace(key)
	}
	schema := s.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = s.compiler.Compile(pointer); err != nil {
			return err
		}
		s.compiled[pointer] = schema
	}
	return schema.Validate(value)
}

// response checks an answer and the events within.
func (s *schemas) response(operation, status string, value any) error {
	if s.raw("operations", operation, "responses", status) == nil {
		return fmt.Errorf("the specification has no JSON answer %s of %s", status, operation)
	}
	return errors.Join(s.validate(value, "operations", operation, "responses", status), s.events("", value))
}

// events checks each event in a value, at whatever depth, against the schema of its type.
func (s *schemas) events(place string, value any) error {
	var errs []error
	switch v := value.(type) {
	case []any:
		for i, e := range v {
			errs = append(errs, s.events(fmt.Sprintf("%s/%d", place, i), e))
		}
	case map[string]any:
		if err := s.event(v); err != nil {
			errs = append(errs, fmt.Errorf("at %s: %w", place, err))
		}
		for key, e := range v {
			errs = append(errs, s.events(place+"/"+key, e))
		}
	}
	return errors.Join(errs...)
}

// event checks an object if it is an event whose type the specification knows.
func (s *schemas) event(v map[string]any) error {
	kind, _ := v["type"].(string)
	content, _ := v["content"].(map[string]any)
	if content == nil || s.raw("events", kind) == nil {
		return nil
	}
	unsigned, _ := v["unsigned"].(map[string]any)
	if unsigned["redacted_because"] != nil {
		return nil // it may lack what the schema asks for
	}
	if msgtype, _ := content["msgtype"].(string); s.raw("events", kind+"$"+msgtype) != nil {
		kind += "$" + msgtype
	}
	if err := s.validate(v, "events", kind); err != nil {
		text, _ := json.Marshal(v)
		return fmt.Errorf("%w\n%.2000s", err, text)
	}
	return nil
}

// formats are those of strings that JSON Schema does not know.
var formats = map[string]func(string) error{
	"mx-user-id":     third(pdu.ParseUserID),
	"mx-room-id":     third(pdu.ParseRoomID),
	"mx-event-id":    third(pdu.ParseEventID),
	"mx-room-alias":  third(pdu.ParseAlias),
	"mx-server-name": third(pdu.ParseServerName),
	"mx-mxc-uri": func(s string) error {
		rest, ok := strings.CutPrefix(s, "mxc://")
		server, id, _ := strings.Cut(rest, "/")
		if _, _, err := pdu.ParseServerName(server); !ok || err != nil || id == "" || strings.Contains(id, "/") {
			return fmt.Errorf("%q is no mxc URI", s)
		}
		return nil
	},
	"mx-unpadded-base64": func(s string) error {
		_, err := base64.RawStdEncoding.DecodeString(s)
		return err
	},
	"mx-urlsafe-unpadded-base64": func(s string) error {
		_, err := base64.RawURLEncoding.DecodeString(s)
		return err
	},
}

func third(parse func(string) (string, string, error)) func(string) error {
	return func(s string) error {
		_, _, err := parse(s)
		return err
	}
}

// TestSchemas: every schema compiles, and they refuse what is wrong.
func TestSchemas(t *testing.T) {
	s := readSchemas(t)
	byID, _ := readOperations(t)
	for id := range s.raw("operations").(map[string]any) {
		if byID[id] == nil {
			t.Errorf("%s is in schemas.json, not in endpoints.tsv", id)
		}
		responses, _ := s.raw("operations", id, "responses").(map[string]any)
		for status := range responses {
			if _, err := s.compiler.Compile(location + "#/operations/" + id + "/responses/" + status); err != nil {
				t.Error(err)
			}
		}
	}
	event := func(kind, content string) string {
		return `{"chunk":[{"type":"` + kind + `","sender":"@a:b","event_id":"$e","room_id":"!r:b","origin_server_ts":1,"content":` + content + `}],"start":"s"}`
	}
	for _, tc := range []struct {
		operation, answer string
		good              bool
	}{
		{"getTokenOwner", `{"user_id":"@a:b"}`, true},
		{"getTokenOwner", `{"user_id":"a"}`, false},
		{"getTokenOwner", `{}`, false},
		{"getRoomEvents", event("m.x", `{}`), true},
		{"getRoomEvents", event("m.room.name", `{"name":"n"}`), true},
		{"getRoomEvents", event("m.room.name", `{"name":5}`), false},
		{"getRoomEvents", event("m.room.message", `{"msgtype":"m.image","body":"b","url":"http://x"}`), false},
		{"getRoomEvents", strings.Replace(event("m.x", `{}`), `"room_id":"!r:b",`, "", 1), false},
		{"getRoomEvents", strings.Replace(event("m.x", `{}`), `@a:b`, "@a", 1), false},
		{"sync", `{"next_batch":"s","rooms":{"join":{"!r:b":{"ephemeral":{"events":[{"type":"m.typing","content":{"user_ids":["b"]}}]}}}}}`, false},
		{"sync", `{"next_batch":"s","rooms":{"join":{"r:b":{}}}}`, false},
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(tc.answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.response(tc.operation, "200", value); (err == nil) != tc.good {
			t.Errorf("%s %s: %v", tc.operation, tc.answer, err)
		}
	}
}
