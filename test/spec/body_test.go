package spec

import (
	"maps"
	"slices"
	"strings"
)

// bodyMaker makes bodies of requests from schemas.
type bodyMaker struct {
	*schemas
	known map[string]any // values by the name of the property
}

// mistake is a body that is right but for one property.
type mistake struct {
	place string
	body  any
}

// wrong makes a mistake in each property of a schema, down to a depth.
func (b bodyMaker) wrong(schema any, depth int) []mistake {
	types, properties := b.shape(schema)
	if depth == 0 || !slices.Contains(types, "object") {
		return nil
	}
	right, _ := b.sample("", schema).(map[string]any)
	var all []mistake
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		put := func(place string, value any) {
			body := maps.Clone(right)
			body[name] = value
			all = append(all, mistake{strings.TrimSuffix(name+"."+place, "."), body})
		}
		kinds, _ := b.shape(properties[name])
		if len(kinds) != 1 {
			continue // it says nothing, or allows several
		}
		switch kinds[0] {
		case "string", "array", "object":
			put("", 5)
		default:
			put("", "text")
		}
		for _, w := range b.wrong(properties[name], depth-1) {
			put(w.place, w.body)
		}
	}
	return all
}

// refers returns what a schema refers to, nil if it does not.
func (b bodyMaker) refers(m map[string]any) any {
	ref, ok := m["$ref"].(string)
	if !ok {
		return nil
	}
	return b.raw("definitions", strings.TrimPrefix(ref, "#/definitions/"))
}

// shape returns the types that a schema allows and its properties, through
// references and compositions.
func (b bodyMaker) shape(schema any) (types []string, properties map[string]any) {
	m, _ := schema.(map[string]any)
	properties = map[string]any{}
	parts, _ := m["allOf"].([]any)
	if other := b.refers(m); other != nil {
		parts = append([]any{other}, parts...)
	}
	for _, part := range parts {
		t, p := b.shape(part)
		if len(t) > 0 {
			types = t
		}
		maps.Copy(properties, p)
	}
	switch t := m["type"].(type) {
	case string:
		types = []string{t}
	case []any:
		types = nil
		for _, one := range t {
			types = append(types, one.(string))
		}
	}
	own, _ := m["properties"].(map[string]any)
	maps.Copy(properties, own)
	return types, properties
}

// required returns the names of the properties that must be there.
func (b bodyMaker) required(schema any) (names []string) {
	m, _ := schema.(map[string]any)
	parts, _ := m["allOf"].([]any)
	if other := b.refers(m); other != nil {
		parts = append([]any{other}, parts...)
	}
	for _, part := range parts {
		names = append(names, b.required(part)...)
	}
	list, _ := m["required"].([]any)
	for _, name := range list {
		names = append(names, name.(string))
	}
	return names
}

// sample makes a value of a schema with what is required.
func (b bodyMaker) sample(name string, schema any) any {
	if v, ok := b.known[name]; ok {
		return v
	}
	m, _ := schema.(map[string]any)
	if other := b.refers(m); other != nil {
		return b.sample(name, other)
	}
	if values, ok := m["enum"].([]any); ok {
		return values[0]
	}
	types, properties := b.shape(schema)
	if len(types) == 0 {
		return map[string]any{}
	}
	switch types[0] {
	case "string":
		return text(m["format"])
	case "integer", "number":
		return 1
	case "boolean":
		return false
	case "array":
		return []any{}
	}
	out := map[string]any{}
	for _, name := range b.required(schema) {
		out[name] = b.sample(name, properties[name])
	}
	return out
}

// text returns a string of a format.
func text(format any) string {
	switch format {
	case "mx-user-id":
		return "@nobody:localhost"
	case "mx-room-id":
		return "!none:localhost"
	case "mx-event-id":
		return "$none"
	case "mx-room-alias":
		return "#none:localhost"
	case "mx-mxc-uri":
		return "mxc://localhost/none"
	case "uri":
		return "https://localhost/"
	case "email":
		return "nobody@example.org"
	}
	return "text"
}
