package admin

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestOpenAPI: the file in docs has our routes, all of them and no others, with their roles.
func TestOpenAPI(t *testing.T) {
	raw, err := os.ReadFile("../../docs/admin-api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	var have, want []string
	for path, operations := range doc.Paths {
		for method, node := range operations {
			if method == "parameters" {
				continue
			}
			var operation struct {
				Role string `yaml:"x-role"`
			}
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			have = append(have, strings.ToUpper(method)+" "+path+" "+operation.Role)
		}
	}
	for _, l := range New(Deps{}).lines() {
		if path, ok := strings.CutPrefix(l.path, ours); ok {
			want = append(want, l.method+" "+path+" "+l.role)
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the file has\n%s\nthe server has\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}
