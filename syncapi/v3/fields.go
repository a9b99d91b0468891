package v3

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"hearth/syncapi/internal/render"
)

// fieldTree is the set of properties that event_fields selects. A node without
// children is selected whole.
type fieldTree struct {
	children map[string]*fieldTree
}

// maxFieldDepth bounds the depth of a property path.
const maxFieldDepth = 32

// newFieldTree reads dot-separated property paths (appendices, "Dot-separated
// property paths"); nil for no list, which selects everything.
func newFieldTree(paths []string) *fieldTree {
	if paths == nil {
		return nil
	}
	root := &fieldTree{children: map[string]*fieldTree{}}
	for _, path := range paths {
		parts := splitPath(path)
		if len(parts) > maxFieldDepth {
			parts = parts[:maxFieldDepth] // more than asked for is allowed
		}
		root.add(parts)
	}
	return root
}

func (t *fieldTree) add(parts []string) {
	for i, part := range parts {
		next, ok := t.children[part]
		switch {
		case ok && next.children == nil:
			return // a shorter path selects it whole
		case i == len(parts)-1:
			t.children[part] = &fieldTree{}
			return
		case !ok:
			next = &fieldTree{children: map[string]*fieldTree{}}
			t.children[part] = next
		}
		t = next
	}
}

// splitPath splits at dots; a backslash makes the next dot or backslash literal.
func splitPath(path string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			part.WriteByte(path[i])
		case c == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// appendPicked appends the selected properties of the JSON object raw.
func (t *fieldTree) appendPicked(dst []byte, raw []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return append(dst, "{}"...)
	}
	dst = append(dst, '{')
	start := len(dst)
	for _, key := range slices.Sorted(maps.Keys(t.children)) {
		value, ok := object[key]
		if !ok {
			continue
		}
		child := t.children[key]
		if child.children != nil && value[0] != '{' {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(render.String(dst, key), ':')
		if child.children == nil {
			dst = append(dst, value...)
		} else {
			dst = child.appendPicked(dst, value)
		}
	}
	return append(dst, '}')
}
