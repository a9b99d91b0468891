package browser

import (
	"encoding/json"
	"strings"
	"testing"
)

// result is how a step went.
type result struct {
	Step  string
	MS    int64
	Waits []string
	Error string
}

// report is what the driver told; js/report.mjs describes its lines.
type report struct {
	plan    []string
	results map[string]result
	done    bool
	noise   string // what is not a line of the report
	err     error  // how the driver ended
}

func parse(text string) *report {
	r := &report{results: map[string]result{}}
	for line := range strings.Lines(text) {
		var l struct {
			result
			Plan []string
			Done bool
		}
		switch err := json.Unmarshal([]byte(line), &l); {
		case err == nil && l.Plan != nil:
			r.plan = l.Plan
		case err == nil && l.Step != "":
			r.results[l.Step] = l.result
		case err == nil && l.Done:
			r.done = true
		default:
			r.noise += line
		}
	}
	return r
}

func TestParse(t *testing.T) {
	r := parse("{\"plan\":[\"a\",\"b\",\"c\"]}\n{\"step\":\"a\",\"ms\":3,\"waits\":[\"x\"]}\nwarning\n{\"step\":\"b\",\"ms\":1,\"error\":\"late\"}\n")
	if len(r.plan) != 3 || r.results["a"].Error != "" || r.results["a"].Waits[0] != "x" || r.results["b"].Error != "late" || r.done || r.noise != "warning\n" {
		t.Errorf("%+v", r)
	}
	if _, ok := r.results["c"]; ok {
		t.Error("a step that was not run has a result")
	}
	if !parse(`{"done":true}`).done {
		t.Error("the end is not seen")
	}
}
