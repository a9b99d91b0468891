package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// events keeps for each type of event what its schema says of content and state_key.
// Whether the rest of an event must be there depends on where it is; that is what the
// API's own schemas say. A variant (m.room.message$m.text) has its own entry.
func (b *bundle) events(folder string) error {
	entries, err := os.ReadDir(filepath.Join(b.root, folder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".yaml" {
			continue
		}
		file := path.Join(folder, e.Name())
		d, err := b.document(file)
		if err != nil {
			return err
		}
		kept := map[string]any{}
		for _, part := range parts(d.(map[string]any)) {
			properties, _ := part["properties"].(map[string]any)
			for _, name := range []string{"content", "state_key"} {
				if properties[name] == nil {
					continue
				}
				if kept[name], err = b.schema(file, properties[name]); err != nil {
					return err
				}
			}
		}
		if kept["content"] == nil {
			if strings.Contains(e.Name(), "m.relates_to") {
				continue // a part of others
			}
			return fmt.Errorf("%s says nothing of content", file)
		}
		b.Events[strings.TrimSuffix(e.Name(), ".yaml")] = map[string]any{
			"type": "object", "properties": kept, "required": []string{"content"},
		}
	}
	return nil
}

// parts returns a schema and those that it is composed of in the same file.
func parts(schema map[string]any) []map[string]any {
	all := []map[string]any{schema}
	composed, _ := schema["allOf"].([]any)
	for _, c := range composed {
		all = append(all, c.(map[string]any))
	}
	return all
}
