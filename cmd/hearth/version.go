package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

const release = "0.1.0"

// version is the release and, if the build knows it, the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "+" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ".changed"
		}
	}
	if revision == "" {
		return release
	}
	return release + revision + changed
}

func printVersion(_ context.Context, p *program, args []string) error {
	if _, err := parseFlags(p.flags("version", "", "Prints the version."), args, 0); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "hearth %s (%s)\n", version(), runtime.Version())
	return nil
}
