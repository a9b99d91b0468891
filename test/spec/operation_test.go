package spec

import (
	"embed"
	"encoding/csv"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

//go:embed data/endpoints.tsv data/schemas.json data/missing.txt data/gaps.txt
var data embed.FS

// operations of the client-server API in this version of the specification.
const operations = 166

// operation is a row of data/endpoints.tsv; gen says what the columns hold.
type operation struct {
	module, method, path, id, auth, body, answer string
	// missing: data/missing.txt says that Hearth has not got it.
	missing bool
}

func readText(t testing.TB, name string) string {
	t.Helper()
	text, err := data.ReadFile("data/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readOperations returns the operations by their ids, and in order.
func readOperations(t testing.TB) (map[string]*operation, []*operation) {
	t.Helper()
	r := csv.NewReader(strings.NewReader(readText(t, "endpoints.tsv")))
	r.Comma, r.FieldsPerRecord = '\t', 7
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]*operation{}
	var all []*operation
	for _, row := range rows[1:] {
		o := &operation{module: row[0], method: row[1], path: row[2], id: row[3], auth: row[4], body: row[5], answer: row[6]}
		byID[o.id] = o
		all = append(all, o)
	}
	if len(byID) != operations {
		t.Fatalf("%d operations, not %d", len(byID), operations)
	}
	for line := range strings.Lines(readText(t, "missing.txt")) {
		id := strings.TrimSpace(line)
		switch o := byID[id]; {
		case id == "":
		case o == nil || o.missing:
			t.Fatalf("missing.txt: %q is no operation or stands there twice", id)
		default:
			o.missing = true
		}
	}
	return byID, all
}

var parameter = regexp.MustCompile(`\{([a-zA-Z]+)\}`)

// fill puts values into the path, and a name as its own value where there is none.
func (o *operation) fill(values map[string]string) string {
	return parameter.ReplaceAllStringFunc(o.path, func(m string) string {
		name := strings.Trim(m, "{}")
		if v, ok := values[name]; ok {
			return url.PathEscape(v)
		}
		return name
	})
}

// String returns what a person looks for in the specification.
func (o *operation) String() string { return fmt.Sprintf("%s (%s %s)", o.id, o.method, o.path) }

// gaps are what operations that are there do not do yet: "token" and "validated" with
// the id of the operation, so that a test can say that a gap is closed.
type gaps map[string]bool

func readGaps(t testing.TB, byID map[string]*operation) gaps {
	t.Helper()
	g := gaps{}
	for line := range strings.Lines(readText(t, "gaps.txt")) {
		kind, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if byID[id] == nil || byID[id].missing || kind != "token" && kind != "validated" {
			t.Fatalf("gaps.txt: %q", line)
		}
		g[kind+" "+id] = true
	}
	return g
}

// check fails if something is not as it should be and no known gap, or if it is and
// stands among the gaps.
func (g gaps) check(t testing.TB, kind string, o *operation, err error) {
	t.Helper()
	switch known := g[kind+" "+o.id]; {
	case err != nil && !known:
		t.Errorf("%v: %v", o, err)
	case err == nil && known:
		t.Errorf("%v is as it should be now: take %q off data/gaps.txt", o, kind+" "+o.id)
	}
}
