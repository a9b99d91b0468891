package config

import (
	"os"
	"slices"
	"strings"
)

const (
	envPrefix  = "HEARTH_"
	fileSuffix = "_FILE"
)

// readEnv stores the values of the environment over those of the file. A variable
// with our prefix that is no key is a problem: a typing error there would else be
// silent. HEARTH_TEST_ and HEARTH_BENCH_ belong to the tests.
func (l *loader) readEnv(environ []string) {
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, "HEARTH_TEST_") ||
			strings.HasPrefix(name, "HEARTH_BENCH_") {
			continue
		}
		f, fromFile, ok := l.variable(name)
		if !ok {
			l.unknownVariable(name)
			continue
		}
		l.set(f, origin{source: name}, func() error {
			if fromFile {
				return f.setSecret(value)
			}
			return f.setText(value)
		})
	}
}

// variable finds the key that a variable sets, and whether it names a file.
func (l *loader) variable(name string) (f field, fromFile, ok bool) {
	for _, f := range l.fields {
		switch {
		case name == f.env():
			return f, false, true
		case f.secret && name == f.env()+fileSuffix:
			return f, true, true
		}
	}
	return field{}, false, false
}

// setSecret stores the first line of a file.
func (f field) setSecret(path string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return errText("cannot be read: %w", err)
	}
	line, _, _ := strings.Cut(string(src), "\n")
	return f.setText(strings.TrimSuffix(line, "\r"))
}

func (l *loader) unknownVariable(name string) {
	names := make([]string, len(l.fields))
	for i, f := range l.fields {
		names[i] = f.env()
	}
	hint := ""
	if near := nearest(name, names); near != "" {
		i := slices.Index(names, near)
		hint = "; did you mean " + near + " (" + l.fields[i].path + ")?"
	}
	l.problem(name, 0, "", "this variable is no key of the configuration%s", hint)
}
