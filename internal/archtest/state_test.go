package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// variable is a package variable.
type variable struct {
	spec     *ast.ValueSpec
	value    ast.Expr // nil if it has none
	embedded bool     // the compiler fills it, through //go:embed
}

// variables lists the package variables of a file by name.
func variables(s source) map[string]variable {
	out := map[string]variable{}
	if s.file == nil {
		return out
	}
	for _, decl := range s.file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			spec := spec.(*ast.ValueSpec)
			for i, name := range spec.Names {
				v := variable{spec: spec, embedded: embeds(gen.Doc) || embeds(spec.Doc)}
				if i < len(spec.Values) {
					v.value = spec.Values[i]
				}
				if name.Name != "_" {
					out[name.Name] = v
				}
			}
		}
	}
	return out
}

// isState says why a package variable is made to change, or "". Tables with
// content, errors and compiled expressions are not, as long as nobody writes to
// them.
func (v variable) isState() string {
	if v.value == nil {
		if arr, ok := v.spec.Type.(*ast.ArrayType); ok && arr.Len != nil {
			return ""
		}
		return onlyIf(v.embedded, "it has no value, so somebody must set it")
	}
	switch e := v.value.(type) {
	case *ast.UnaryExpr:
		return onlyIf(e.Op != token.AND, "it is a pointer to something that can change")
	case *ast.CallExpr:
		if name, ok := e.Fun.(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") {
			return "it begins empty, so somebody fills it"
		}
	case *ast.CompositeLit:
		switch t := e.Type.(type) {
		case *ast.MapType:
			return onlyIf(len(e.Elts) > 0, "it begins empty, so somebody fills it")
		case *ast.ArrayType:
			return onlyIf(len(e.Elts) > 0 || t.Len != nil, "it begins empty, so somebody fills it")
		case *ast.SelectorExpr:
			if pkg, ok := t.X.(*ast.Ident); ok && slices.Contains([]string{"sync", "atomic"}, pkg.Name) {
				return onlyIf(t.Sel.Name == "Pool", "it is made to be shared and changed") // a pool remembers nothing
			}
		}
	}
	return ""
}

func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// writes lists the places in a file that change package variables.
func writes(s source, vars map[string]variable) []string {
	var out []string
	report := func(e ast.Expr) {
		name := base(e)
		if name == nil {
			return
		}
		v, ok := vars[name.Name]
		// A name that is declared in the file is resolved: it may be a local one.
		if !ok || name.Obj != nil && name.Obj.Decl != v.spec {
			return
		}
		out = append(out, fmt.Sprintf("%s changes %s", s.fset.Position(e.Pos()), name.Name))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					report(e)
				}
			}
		case *ast.IncDecStmt:
			report(n.X)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
				report(n.Args[0])
			}
		}
		return true
	})
	return out
}

// base returns the name at the root of a[b], a.b, *a, a[b:c].
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		default:
			return nil
		}
	}
}

const noState = "what changes belongs to a component, which is built by New and can be there twice in a test"

// stateProblems checks the files of one package.
func stateProblems(files []source) []string {
	all := map[string]variable{}
	var out []string
	for _, s := range files {
		for name, v := range variables(s) {
			all[name] = v
			if why := v.isState(); why != "" {
				out = append(out, fmt.Sprintf("%s: package variable %s: %s", s.path, name, why))
			}
		}
	}
	for _, s := range files {
		if s.file != nil {
			out = append(out, writes(s, all)...)
		}
	}
	return out
}

func TestNoPackageState(t *testing.T) {
	packages := map[string][]source{}
	for _, s := range tree(t) {
		if !s.test && !under(s.pkg, path.Join(module, "test")) {
			packages[s.pkg] = append(packages[s.pkg], s)
		}
	}
	for _, files := range packages {
		for _, problem := range stateProblems(files) {
			t.Errorf("%s (%s)", problem, noState)
		}
	}
}

func TestStateRules(t *testing.T) {
	for text, want := range map[string]int{
		"var a = map[string]int{\"x\": 1}":                                    0,
		"var a = []string{\"x\"}":                                             0,
		"var a = errors.New(\"x\")":                                           0,
		"var _ I = (*T)(nil)":                                                 0,
		"//go:embed x\nvar a string":                                          0,
		"var a = []string{\"x\"}\nfunc f() { a := 1; a = 2; _ = a }":          0,
		"var a = []string{\"x\"}\nfunc f(a []int) { a[0] = 2; delete(b, a) }": 0,
		"var a map[string]int":                                                1,
		"var a int":                                                           1,
		"var a = map[string]int{}":                                            1,
		"var a = make([]int, 5)":                                              1,
		"var a sync.Mutex":                                                    1,
		"var a = sync.Map{}":                                                  1,
		"var a = &T{}":                                                        1,
		"var a = map[string]int{\"x\": 1}\nfunc f() { a[\"y\"] = 2 }":         1,
		"var a = map[string]int{\"x\": 1}\nfunc f() { delete(a, \"x\") }":     1,
		"var a = []string{\"x\"}\nfunc f() { a = append(a, \"y\"); a[0] = \"\"}": 2,
		"var a = 1\nfunc f() { a++ }":                                            1,
		"var a = T{}\nfunc f() { a.b.c = 1 }":                                    1,
	} {
		if got := stateProblems([]source{parse("x/x.go", "package x\n\n"+text+"\n")}); len(got) != want {
			t.Errorf("%s\n%d problems: %q", text, len(got), got)
		}
	}
	split := []source{
		parse("x/a.go", "package x\n\nvar a = []int{1}\n"),
		parse("x/b.go", "package x\n\nfunc f() { a[0] = 2 }\n"),
	}
	if got := stateProblems(split); len(got) != 1 {
		t.Errorf("a write in another file: %q", got)
	}
}
