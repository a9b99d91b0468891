// Command gen writes the data of package spec from a checkout of the Matrix
// specification (github.com/matrix-org/matrix-spec):
//
//	go run ./test/spec/gen -spec DIR -version v1.19 -out test/spec/data
//
// It keeps what validation needs of the OpenAPI documents and of the event schemas
// (types, required properties, formats, references) and leaves out the prose.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	spec := flag.String("spec", "", "directory of the specification: the one that holds data/ and LICENSE")
	version := flag.String("version", "", "version of the specification, for the data's own record")
	out := flag.String("out", "", "directory to write to")
	flag.Parse()
	if *spec == "" || *version == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*spec, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(spec, version, out string) error {
	b := &bundle{
		root: filepath.Join(spec, "data"), documents: map[string]any{},
		Version: version, Definitions: map[string]any{}, Operations: map[string]*operation{}, Events: map[string]any{},
	}
	rows, err := b.api("api/client-server")
	if err != nil {
		return err
	}
	if err := b.events("event-schemas/schema"); err != nil {
		return err
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	var lines bytes.Buffer // one definition a line, so that a new version can be compared
	lines.Grow(len(text))
	if err := breakLines(&lines, text); err != nil {
		return err
	}
	license, err := os.ReadFile(filepath.Join(spec, "LICENSE"))
	if err != nil {
		return err
	}
	table := strings.Join(append([]string{strings.Join(columns, "\t")}, rows...), "\n") + "\n"
	for name, content := range map[string][]byte{
		"LICENSE": license, "schemas.json": lines.Bytes(), "endpoints.tsv": []byte(table),
	} {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d operations, %d event types, %d definitions, %d bytes\n", len(rows), len(b.Events), len(b.Definitions), lines.Len())
	return nil
}

// breakLines copies JSON with a line break after each member of the second level.
func breakLines(to *bytes.Buffer, text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		to.WriteByte(c)
		switch {
		case quoted:
			if c == '\\' {
				i++
				to.WriteByte(text[i])
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
			if depth <= 2 {
				to.WriteByte('\n')
			}
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth <= 2:
			to.WriteByte('\n')
		}
	}
	to.WriteByte('\n')
	if !json.Valid(to.Bytes()) {
		return fmt.Errorf("the data is not JSON")
	}
	return nil
}
