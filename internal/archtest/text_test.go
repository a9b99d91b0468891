package archtest

import (
	"regexp"
	"testing"
)

// maxLines is the size of a file that a reader still finds the way in.
const maxLines = 600

func TestFilesAreSmall(t *testing.T) {
	for _, s := range tree(t) {
		if s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it does", s.path, s.lines, maxLines)
		}
	}
}

// What is not done is kept in one place, and what is true on one machine is no part of the
// program.
func TestNoLooseEnds(t *testing.T) {
	loose := regexp.MustCompile(`//.*\b(TODO|FIX` + `ME|XXX|HACK)\b|"/(work|home|Users)/`)
	for _, s := range tree(t) {
		if found := loose.FindString(s.text); found != "" && s.pkg != module+"/internal/archtest" {
			t.Errorf("%s holds %q", s.path, found)
		}
	}
}
