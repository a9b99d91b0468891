// Package archtest holds the rules of the tree as tests. Each rule carries its
// reason, which is what a failure prints.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "hearth"
	root   = "../.."
)

// source is one Go file.
type source struct {
	path    string // roomserver/send.go
	pkg     string // hearth/roomserver
	test    bool
	lines   int
	text    string
	fset    *token.FileSet
	file    *ast.File
	imports []string
}

// tree parses all Go files of the repository.
func tree(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && name != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		s, err := read(name)
		if err == nil {
			out = append(out, s)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found only %d files", len(out))
	}
	return out
}

func read(name string) (source, error) {
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return source{}, err
	}
	rel = filepath.ToSlash(rel)
	text, err := readText(name)
	if err != nil {
		return source{}, err
	}
	s := parse(rel, text)
	return s, nil
}

// parse makes a source of text, which tests of the rules do too.
func parse(rel, text string) source {
	s := source{
		path: rel, pkg: path.Join(module, path.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"),
		lines: strings.Count(text, "\n"), text: text, fset: token.NewFileSet(),
	}
	file, err := parser.ParseFile(s.fset, rel, text, parser.ParseComments)
	if err != nil { // the compiler says it better
		return s
	}
	s.file = file
	for _, spec := range file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			s.imports = append(s.imports, name)
		}
	}
	return s
}

// under reports whether a package is dir or below it.
func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// inTree returns the path of a package of this module below the module's name.
func inTree(pkg string) (string, bool) { return strings.CutPrefix(pkg, module+"/") }
