package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	securityRow  = regexp.MustCompile(`(?m)^\| (\d+) \|.*\|$`)
	securityTest = regexp.MustCompile("`([a-z/0-9]+)\\.(Test[A-Za-z0-9]+)`")
)

// The tests that docs/security.md names are there, so that what it says can be checked.
func TestSecurityNamesTests(t *testing.T) {
	text, err := readText("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := securityRow.FindAllStringSubmatch(text, -1)
	for i, row := range rows {
		if row[1] != fmt.Sprint(i+1) {
			t.Errorf("row %d has number %s", i+1, row[1])
		}
		if !securityTest.MatchString(row[0]) && !strings.Contains(row[0], "no test of its own") {
			t.Errorf("row %s names no test", row[1])
		}
	}
	if len(rows) != 40 {
		t.Errorf("%d rows", len(rows))
	}
	packages := map[string]string{}
	for _, name := range securityTest.FindAllStringSubmatch(text, -1) {
		if _, ok := packages[name[1]]; !ok {
			packages[name[1]] = testsOf(t, name[1])
		}
		if !strings.Contains(packages[name[1]], "\nfunc "+name[2]+"(t *testing.T) {") {
			t.Errorf("%s has no test %s", name[1], name[2])
		}
	}
}

// testsOf returns the text of a package's tests.
func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}
