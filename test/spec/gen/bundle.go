package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// bundle is what becomes schemas.json.
type bundle struct {
	root      string         // of the files
	documents map[string]any // read files by their path below root

	Version     string                `json:"version"`
	Operations  map[string]*operation `json:"operations"`
	Events      map[string]any        `json:"events"`
	Definitions map[string]any        `json:"definitions"`
}

// operation holds the schemas of an operation by its operationId.
type operation struct {
	Request   any            `json:"request,omitempty"` // of a JSON body
	Responses map[string]any `json:"responses"`         // of JSON answers by status
}

// document reads a YAML file.
func (b *bundle) document(file string) (any, error) {
	if d, ok := b.documents[file]; ok {
		return d, nil
	}
	text, err := os.ReadFile(filepath.Join(b.root, filepath.FromSlash(file)))
	if err != nil {
		return nil, err
	}
	var d any
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	b.documents[file] = d
	return d, nil
}

// resolve finds what a $ref in a file means, and the file and pointer that it is at.
func (b *bundle) resolve(file, ref string) (node any, at, pointer string, err error) {
	name, pointer, _ := strings.Cut(strings.TrimSpace(ref), "#")
	at = file
	if name != "" {
		at = path.Join(path.Dir(file), name)
	}
	if node, err = b.document(at); err != nil {
		return nil, "", "", fmt.Errorf("%s refers to %s: %w", file, ref, err)
	}
	for key := range strings.SplitSeq(strings.Trim(pointer, "/"), "/") {
		if key == "" {
			continue
		}
		m, _ := node.(map[string]any)
		if node = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]; node == nil {
			return nil, "", "", fmt.Errorf("%s refers to %s, which is not there", file, ref)
		}
	}
	return node, at, pointer, nil
}

// follow returns a node or what it refers to.
func (b *bundle) follow(file string, node any) (map[string]any, string, error) {
	for {
		m, ok := node.(map[string]any)
		if !ok {
			return nil, "", fmt.Errorf("%s: an object was expected, not %v", file, node)
		}
		ref, ok := m["$ref"].(string)
		if !ok {
			return m, file, nil
		}
		var err error
		if node, file, _, err = b.resolve(file, ref); err != nil {
			return nil, "", err
		}
	}
}

// define puts the schema that a $ref means among the definitions and returns the
// $ref that finds it there.
func (b *bundle) define(file, ref string) (string, error) {
	node, at, pointer, err := b.resolve(file, ref)
	if err != nil {
		return "", err
	}
	name := strings.TrimSuffix(at, ".yaml") + strings.TrimPrefix(pointer, "/components/schemas")
	name = strings.NewReplacer("api/", "", "schema/", "", "definitions/", "", "/", ".").Replace(name)
	if _, ok := b.Definitions[name]; !ok {
		b.Definitions[name] = true // it may refer to itself
		if b.Definitions[name], err = b.schema(at, node); err != nil {
			return "", err
		}
	}
	return "#/definitions/" + name, nil
}
