package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestFederationOff: a server that keeps to itself has no listener for others and
// keeps nothing of them.
func TestFederationOff(t *testing.T) {
	for _, on := range []bool{false, true} {
		c := testConfig(t)
		c.Federation.Enabled = on
		o, _ := testOptions(c)
		a, stop := start(t, o)
		if status, _ := fetch(t, a.address("client"), "/health"); status != 200 {
			t.Errorf("federation %v: health %d", on, status)
		}
		if (a.address("federation") != "") != on {
			t.Errorf("federation %v: it listens at %q", on, a.address("federation"))
		}
		if err := stop(); err != nil {
			t.Errorf("federation %v: %v", on, err)
		}
		if _, err := os.Stat(filepath.Join(c.DataDir, "federationapi.db")); errors.Is(err, fs.ErrNotExist) == on {
			t.Errorf("federation %v: its database: %v", on, err)
		}
	}
}
