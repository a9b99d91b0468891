package appservice

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// mapping reads the keys of a YAML mapping and remembers which ones were asked for.
type mapping struct {
	l      *loader
	node   *yaml.Node
	prefix string
	values map[string]*yaml.Node
	lines  map[string]int
	seen   map[string]bool
}

func (l *loader) mapping(node *yaml.Node, prefix string) *mapping {
	m := &mapping{l: l, node: node, prefix: prefix, values: map[string]*yaml.Node{}, lines: map[string]int{}, seen: map[string]bool{}}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if _, twice := m.values[name.Value]; twice {
			l.problem(name.Line, prefix+name.Value, "is here twice; the first is in line %d", m.lines[name.Value])
			continue
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		m.values[name.Value], m.lines[name.Value] = value, name.Line
	}
	return m
}

// get returns a value, nil if the key is absent.
func (m *mapping) get(key string) *yaml.Node {
	m.seen[key] = true
	return m.values[key]
}

func (m *mapping) line(key string) int { return m.lines[key] }

// text returns a text that must be there and not be empty.
func (m *mapping) text(key string) string {
	node := m.get(key)
	switch {
	case node == nil:
		m.l.problem(m.node.Line, m.prefix+key, "is missing")
	case node.Kind != yaml.ScalarNode || node.Tag != "!!str":
		m.l.problem(node.Line, m.prefix+key, "must be text; put it in quotes") // and not shown: it may be a secret
	case node.Value == "":
		m.l.problem(node.Line, m.prefix+key, "must not be empty")
	default:
		return node.Value
	}
	return ""
}

func (m *mapping) boolean(key string, otherwise bool) bool {
	node := m.get(key)
	if node == nil {
		return otherwise
	}
	var v bool
	if node.Tag != "!!bool" || node.Decode(&v) != nil {
		m.l.problem(node.Line, m.prefix+key, "must be true or false")
		return otherwise
	}
	return v
}

// texts returns a list of texts that may be absent or null.
func (m *mapping) texts(key string) []string {
	node := m.get(key)
	if node == nil || node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		m.l.problem(node.Line, m.prefix+key, "must be a list of texts")
		return nil
	}
	var out []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" || item.Value == "" || slices.Contains(out, item.Value) {
			m.l.problem(item.Line, m.prefix+key, "must be a list of different texts")
			continue
		}
		out = append(out, item.Value)
	}
	return out
}

// rest lists the keys that nobody asked for, in order of text.
func (m *mapping) rest() []string {
	var out []string
	for key := range m.values {
		if !m.seen[key] {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}
