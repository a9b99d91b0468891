package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

type row = map[string]any

// column is one column of a table: its title, and the key of the value in a row.
type column struct{ title, key string }

// show prints rows for people, or the answer itself as JSON.
func show(w io.Writer, asJSON bool, answer any, columns []column, rows []any) error {
	if asJSON {
		return printJSON(w, answer)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range columns {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, c.title)
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		fields, _ := r.(row)
		for i, c := range columns {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell(c.key, fields[c.key]))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// details prints the fields of one thing, one a line.
func details(w io.Writer, asJSON bool, answer row, keys ...string) error {
	if asJSON {
		return printJSON(w, answer)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, key := range keys {
		fmt.Fprintf(t, "%s\t%s\n", strings.ReplaceAll(key, "_", " "), cell(key, answer[key]))
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// maxCell is the greatest width of a cell, in characters.
const maxCell = 60

// cell writes a value. What would move the terminal's cursor or colour it is left out: names are
// chosen by strangers.
func cell(key string, v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case float64:
		if strings.HasSuffix(key, "_ts") || key == "ts" {
			if v == 0 {
				return "-"
			}
			return time.UnixMilli(int64(v)).UTC().Format("2006-01-02 15:04:05")
		}
		return fmt.Sprintf("%.0f", v)
	case string:
		clean := strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				return -1
			}
			return r
		}, v)
		if runes := []rune(clean); len(runes) > maxCell {
			return string(runes[:maxCell-1]) + "…"
		}
		if clean == "" {
			return "-"
		}
		return clean
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "-"
	}
	return cell(key, string(raw))
}
