package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What is done with a keyword of JSON Schema or OpenAPI.
const (
	drop     = iota // prose
	keep            // a plain value
	one             // a schema
	list            // a list of schemas
	byName          // schemas by the name of a property
	patterns        // schemas by a pattern
	ref             // $ref
)

var keywords = map[string]int{
	"$schema": drop, "title": drop, "description": drop, "example": drop, "examples": drop, "default": drop,
	"deprecated": drop, "externalDocs": drop, "readOnly": drop, "$id": drop,
	"type": keep, "enum": keep, "const": keep, "required": keep, "format": keep, "pattern": keep,
	"minimum": keep, "maximum": keep, "minLength": keep, "maxLength": keep, "minItems": keep, "maxItems": keep,
	"uniqueItems": keep, "minProperties": keep, "maxProperties": keep,
	"items": one, "additionalProperties": one, "propertyNames": one, "not": one, "if": one, "then": one, "else": one,
	"contains": one, "unevaluatedProperties": one,
	"allOf": list, "anyOf": list, "oneOf": list, "prefixItems": list,
	"properties": byName, "patternProperties": patterns, "$ref": ref,
}

// schema copies a schema without prose, with references into the bundle. A keyword
// that it does not know is an error, so that none is lost unseen.
func (b *bundle) schema(file string, node any) (any, error) {
	m, ok := node.(map[string]any)
	if !ok {
		if always, ok := node.(bool); ok {
			return always, nil
		}
		return nil, fmt.Errorf("%s: a schema was expected, not %v", file, node)
	}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := b.keyword(file, key, m[key], out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (b *bundle) keyword(file, key string, value any, out map[string]any) (err error) {
	what, known := keywords[key]
	switch {
	case strings.HasPrefix(key, "x-"):
	case !known:
		return fmt.Errorf("%s: unknown keyword %q", file, key)
	case what == keep:
		if text, ok := value.(string); !ok || key != "format" || !numeric(text) {
			out[key] = value
		}
	case what == one:
		out[key], err = b.schema(file, value)
	case what == list:
		var schemas []any
		for _, v := range value.([]any) {
			s, err := b.schema(file, v)
			if err != nil {
				return err
			}
			schemas = append(schemas, s)
		}
		out[key] = schemas
	case what == byName, what == patterns:
		schemas := map[string]any{}
		for name, v := range value.(map[string]any) {
			if v == nil { // a property without a schema
				v = true
			}
			if schemas[name], err = b.schema(file, v); err != nil {
				return err
			}
		}
		out[key] = schemas
		if what == patterns {
			names(value.(map[string]any), out)
		}
	case what == ref:
		out[key], err = b.define(file, value.(string))
	}
	return err
}

// names turns the formats of patterns into one for the names of properties: else a
// name that matches no pattern would go unseen.
func names(patterns, out map[string]any) {
	var formats []any
	for _, p := range slices.Sorted(maps.Keys(patterns)) {
		m, _ := patterns[p].(map[string]any)
		format, ok := m["x-pattern-format"].(string)
		if !ok {
			return
		}
		formats = append(formats, map[string]any{"format": format})
	}
	out["propertyNames"] = map[string]any{"anyOf": formats}
}

// numeric tells the formats of numbers, which say no more than the type.
func numeric(format string) bool {
	return format == "int64" || format == "int32" || format == "float" || format == "double"
}
