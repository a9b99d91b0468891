package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// columns of endpoints.tsv. auth is no, token, optional or appservice; body and
// answer are none, json, bytes or redirect.
var columns = []string{"module", "method", "path", "operation", "auth", "body", "answer"}

// methods in the order of the table.
var methods = []string{"get", "put", "post", "delete", "patch", "head", "options"}

// api reads all OpenAPI documents of a folder and returns the rows of the table.
func (b *bundle) api(folder string) (rows []string, err error) {
	entries, err := os.ReadDir(filepath.Join(b.root, folder))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".yaml" {
			continue
		}
		file := path.Join(folder, e.Name())
		d, err := b.document(file)
		if err != nil {
			return nil, err
		}
		document := d.(map[string]any)
		paths, _ := document["paths"].(map[string]any)
		for _, p := range slices.Sorted(maps.Keys(paths)) {
			item := paths[p].(map[string]any)
			for _, method := range methods {
				node, ok := item[method].(map[string]any)
				if !ok {
					continue
				}
				row, err := b.operation(file, node)
				if err != nil {
					return nil, fmt.Errorf("%s: %s %s: %w", file, method, p, err)
				}
				// Some paths end in a space, to stand there twice.
				whole := base(document) + strings.TrimSpace(p)
				module := strings.TrimSuffix(e.Name(), ".yaml")
				rows = append(rows, strings.Join(append([]string{module, strings.ToUpper(method), whole}, row...), "\t"))
			}
		}
	}
	return rows, nil
}

// base returns the path that all paths of a document begin with.
func base(document map[string]any) string {
	server := document["servers"].([]any)[0].(map[string]any)
	variables := server["variables"].(map[string]any)
	basePath, _ := variables["basePath"].(map[string]any)
	text, _ := basePath["default"].(string)
	return text
}

// operation keeps the schemas of an operation and returns the columns from its id on.
func (b *bundle) operation(file string, node map[string]any) ([]string, error) {
	id, _ := node["operationId"].(string)
	if id == "" || b.Operations[id] != nil {
		return nil, fmt.Errorf("the operationId %q is empty or not unique", id)
	}
	op := &operation{Responses: map[string]any{}}
	b.Operations[id] = op
	body, answer := "none", "none"
	if request, ok := node["requestBody"]; ok {
		schema, kind, err := b.content(file, request)
		if err != nil {
			return nil, err
		}
		op.Request, body = schema, kind
	}
	responses := node["responses"].(map[string]any)
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		schema, kind, err := b.content(file, responses[status])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", status, err)
		}
		switch {
		case status == "200":
			answer = kind
		case status[0] == '3' && responses["200"] == nil:
			answer = "redirect"
		}
		if kind == "json" {
			op.Responses[status] = schema
		}
	}
	return []string{id, auth(id, node), body, answer}, nil
}

// auth says what token an operation needs.
func auth(id string, node map[string]any) string {
	if id == "getRoomSummary" {
		return "optional" // the document names a scheme of federation; the prose is right
	}
	security, _ := node["security"].([]any)
	kind := "no"
	for _, s := range security {
		switch scheme := s.(map[string]any); {
		case len(scheme) == 0:
			return "optional"
		case scheme["appserviceAccessTokenBearer"] != nil:
			kind = "appservice"
		default:
			kind = "token"
		}
	}
	return kind
}

// content returns the schema of a request or response, if it is JSON, and its kind.
func (b *bundle) content(file string, node any) (schema any, kind string, err error) {
	m, at, err := b.follow(file, node)
	if err != nil {
		return nil, "", err
	}
	content, _ := m["content"].(map[string]any)
	media, ok := content["application/json"].(map[string]any)
	switch {
	case len(content) == 0:
		return nil, "none", nil
	case !ok:
		return nil, "bytes", nil
	}
	if schema, err = b.schema(at, media["schema"]); err != nil {
		return nil, "", err
	}
	return schema, "json", nil
}
