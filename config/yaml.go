package config

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML stores the values of a file. The tree of nodes is walked here, and not
// decoded by the library, because that stops at the first fault, forgets lines and
// takes other types than the one that is meant.
func (l *loader) readYAML(src []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file sets nothing
			l.badYAML(err)
		}
		return
	}
	var next yaml.Node
	if err := dec.Decode(&next); err == nil {
		l.problem(l.name, next.Line, "", "there is a second YAML document; only one is allowed")
	} else if !errors.Is(err, io.EOF) {
		l.badYAML(err)
	}
	l.section(doc.Content[0], "")
}

func (l *loader) badYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits; 0 if far too many
		text = text[len(m[0]):]
	}
	l.problem(l.name, line, "", "this is not valid YAML: %s", text)
}

// section reads a mapping. prefix is "" or the path of the section and a dot.
func (l *loader) section(node *yaml.Node, prefix string) {
	key := strings.TrimSuffix(prefix, ".")
	if isNull(node) { // all keys of the section are commented out
		return
	}
	if node.Kind != yaml.MappingNode {
		l.problem(l.name, node.Line, key, "must be keys with values; allowed here: %s", quoteAll(l.members(prefix)))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		path := prefix + name.Value
		switch first, twice := seen[name.Value]; {
		case name.Kind != yaml.ScalarNode || !slices.Contains(l.members(prefix), name.Value):
			l.unknown(name, prefix)
			continue
		case twice:
			l.problem(l.name, name.Line, path, "is here twice; the first is in line %d", first)
			continue
		}
		seen[name.Value] = name.Line
		if f, ok := l.field(path); ok && f.isSections() {
			l.sections(f, value)
		} else if ok {
			l.set(f, origin{source: l.name, line: value.Line}, func() error { return setNode(f, value) })
		} else {
			l.section(value, path+".")
		}
	}
}

// sections reads a list of sections, whose keys are then known as path[0].name.
func (l *loader) sections(f field, node *yaml.Node) {
	l.set(f, origin{source: l.name, line: node.Line}, func() error {
		if node.Kind != yaml.SequenceNode {
			return errText("must be a list of sections; [] is an empty one")
		}
		return nil
	})
	if node.Kind != yaml.SequenceNode {
		return
	}
	items := reflect.MakeSlice(f.value.Type(), len(node.Content), len(node.Content))
	f.value.Set(items)
	for i, item := range node.Content {
		prefix := f.path + "[" + strconv.Itoa(i) + "]."
		if d, ok := items.Index(i).Addr().Interface().(interface{ defaults() }); ok {
			d.defaults()
		}
		l.fields = append(l.fields, fieldsOf(items.Index(i), prefix)...)
		if isNull(item) {
			l.problem(l.name, item.Line, strings.TrimSuffix(prefix, "."), "is empty; allowed here: %s", quoteAll(l.members(prefix)))
			continue
		}
		l.section(item, prefix)
	}
}

func (l *loader) field(path string) (field, bool) {
	i := slices.IndexFunc(l.fields, func(f field) bool { return f.path == path })
	if i < 0 {
		return field{}, false
	}
	return l.fields[i], true
}

// members lists the names that a section may hold.
func (l *loader) members(prefix string) []string {
	var out []string
	for _, f := range l.fields {
		if rest, ok := strings.CutPrefix(f.path, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func (l *loader) unknown(name *yaml.Node, prefix string) {
	allowed := l.members(prefix)
	hint := ""
	if near := nearest(name.Value, allowed); near != "" {
		hint = "did you mean " + near + "? "
	}
	l.problem(l.name, name.Line, prefix+name.Value, "there is no such key; %sallowed here: %s", hint, quoteAll(allowed))
}

// setNode stores a value after a check of its type.
func setNode(f field, node *yaml.Node) error {
	switch {
	case node.Kind == yaml.AliasNode:
		return errText("must be a value of its own, not a reference to another")
	case isNull(node):
		return errText("has no value; %s, or leave the key out", f.want())
	case f.isList():
		return setSequence(f, node)
	case node.Kind != yaml.ScalarNode:
		return errText("must be one value: %s", f.want())
	}
	switch f.value.Interface().(type) {
	case string:
		if node.Tag != "!!str" {
			return errText("must be text; put it in quotes") // and not shown: it may be a secret
		}
	case bool:
		if node.Tag != "!!bool" {
			return errText("must be true or false, not %q", node.Value)
		}
		return f.setText(strings.ToLower(node.Value)) // YAML has True and TRUE too
	case int:
		if node.Tag != "!!int" {
			return errText("must be a whole number, not %q", node.Value)
		}
	}
	return f.setText(node.Value)
}

func setSequence(f field, node *yaml.Node) error {
	if node.Kind != yaml.SequenceNode {
		return errText("must be a list such as [a, b]; [] is an empty one")
	}
	items := make([]string, 0, len(node.Content))
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			return errText("must be a list of texts; the item in line %d is none", item.Line)
		}
		items = append(items, item.Value)
	}
	return f.setList(items)
}

// want says how an empty value of the field is written.
func (f field) want() string {
	switch f.value.Interface().(type) {
	case string:
		return `write "" for an empty text`
	case bool:
		return "write true or false"
	case int:
		return "write a whole number"
	case Size:
		return "write " + sizeForm
	case Duration:
		return "write " + durationForm
	default:
		return "write [] for an empty list"
	}
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}
