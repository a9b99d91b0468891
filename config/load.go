package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxFile bounds what is read as a configuration, in bytes.
const maxFile = 1 << 20

// Load reads the file, then the environment of the process, and checks the result.
// What is wrong with them is a Problems error.
func Load(path string) (*Config, error) { return LoadWith(path, os.Environ()) }

// LoadWith is Load with another environment, in the form of os.Environ.
func LoadWith(path string, environ []string) (*Config, error) {
	src, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, src, environ)
}

// Parse is LoadWith of a file that is in memory; name is for messages.
func Parse(name string, src []byte, environ []string) (*Config, error) {
	l := &loader{name: name, config: Defaults(), origins: map[string]origin{}}
	l.fields = fields(l.config)
	l.readYAML(src)
	l.readEnv(environ)
	l.validate()
	if len(l.problems) > 0 {
		return nil, l.problems.sorted()
	}
	return l.config, nil
}

// loader collects values and problems.
type loader struct {
	name     string
	config   *Config
	fields   []field
	origins  map[string]origin // where a key was set
	problems Problems
}

type origin struct {
	source string
	line   int
	broken bool // a problem with the value was reported already
}

func (l *loader) problem(source string, line int, key, format string, args ...any) {
	l.problems = append(l.problems, Problem{Source: source, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// invalid reports a problem with the value of a key, where it was set.
func (l *loader) invalid(key, format string, args ...any) {
	o, set := l.origins[key]
	if !set {
		o.source = l.name
	}
	if !o.broken {
		l.problem(o.source, o.line, key, format, args...)
	}
}

// set notes where a key was set and stores its value.
func (l *loader) set(f field, o origin, store func() error) {
	err := store()
	if err != nil {
		l.problem(o.source, o.line, f.path, "%v", err)
	}
	o.broken = err != nil
	l.origins[f.path] = o
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("cannot read the configuration %s: %w", path, err)
	}
	defer file.Close()
	src, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration %s: %w", path, err)
	}
	if len(src) > maxFile {
		return nil, fmt.Errorf("the configuration %s is larger than %d bytes", path, maxFile)
	}
	return src, nil
}

func errText(format string, args ...any) error { return fmt.Errorf(format, args...) }

func itoa(n int) string { return strconv.Itoa(n) }

func quoteAll(items []string) string {
	return strings.Join(items, ", ")
}
