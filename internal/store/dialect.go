package store

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// word is one token of SQL text: either code that may be rewritten or a literal,
// quoted name or comment that may not.
type word struct {
	text string
	code bool
}

// split cuts sql into identifiers, $n parameters, other code, and parts that are
// copied as they are. It knows the lexical rules that both engines share: '…' and
// "…" with doubled quotes, -- and /* */ comments.
func split(sql string) []word {
	var out []word
	for i := 0; i < len(sql); {
		n, code := token(sql[i:])
		out = append(out, word{sql[i : i+n], code})
		i += n
	}
	return out
}

func token(s string) (n int, code bool) {
	switch {
	case s[0] == '\'' || s[0] == '"':
		return quoted(s), false
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			return end + 1, false
		}
		return len(s), false
	case strings.HasPrefix(s, "/*"):
		if end := strings.Index(s, "*/"); end >= 0 {
			return end + 2, false
		}
		return len(s), false
	case s[0] == '$' || s[0] == '{' || wordByte(s[0]):
		n = 1
		for n < len(s) && wordByte(s[n]) {
			n++
		}
		if s[0] == '{' && n < len(s) && s[n] == '}' {
			n++
		}
		return n, true
	}
	return 1, true
}

func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] != s[0] {
			continue
		}
		if i+1 < len(s) && s[i+1] == s[0] {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// numbered rewrites $n to ?n, which SQLite binds by number: its own $n parameters
// are named ones that get their places by first appearance, so that a $2 before a
// $1 would swap two arguments in silence. It returns the highest n.
func numbered(sql string) (string, int, error) {
	var b strings.Builder
	highest := 0
	for _, w := range split(sql) {
		if w.code && w.text[0] == '?' {
			return "", 0, fmt.Errorf("store: parameter ? in %q, use $1", sql)
		}
		if !w.code || w.text[0] != '$' {
			b.WriteString(w.text)
			continue
		}
		n, err := strconv.Atoi(w.text[1:])
		if err != nil || n < 1 || n > 30000 {
			return "", 0, fmt.Errorf("store: bad parameter %q in %q", w.text, sql)
		}
		highest = max(highest, n)
		b.WriteByte('?')
		b.WriteString(w.text[1:])
	}
	return b.String(), highest, nil
}

// tableOptions finds {clustered} and {strict}, which need a comma between them on
// SQLite and vanish on PostgreSQL.
var tableOptions = regexp.MustCompile(`\{(clustered|strict)\}(?:\s*,?\s*\{(clustered|strict)\})?`)

// translate turns the SQL of a migration into the engine's. It fills the macros and
// corrects what would otherwise differ in silence: on SQLite BIGINT becomes INTEGER,
// which makes a BIGINT PRIMARY KEY the row's own key, and BOOLEAN becomes INTEGER,
// both of which STRICT tables demand; on PostgreSQL TEXT columns get the collation
// "C", so that text is ordered by bytes as on SQLite.
func translate(sql string, sqlite bool) (string, error) {
	sql = tableOptions.ReplaceAllStringFunc(sql, func(m string) string {
		if !sqlite {
			return ""
		}
		var parts []string
		if strings.Contains(m, "{clustered}") {
			parts = append(parts, "WITHOUT ROWID")
		}
		if strings.Contains(m, "{strict}") {
			parts = append(parts, "STRICT")
		}
		return strings.Join(parts, ", ")
	})
	var b strings.Builder
	previous := ""
	for _, w := range split(sql) {
		text := w.text
		if w.code {
			var err error
			if text, err = typeName(text, previous, sqlite); err != nil {
				return "", err
			}
			if strings.TrimSpace(w.text) != "" {
				previous = strings.ToUpper(w.text)
			}
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func typeName(text, previous string, sqlite bool) (string, error) {
	upper := strings.ToUpper(text)
	if upper == "{BLOB}" {
		return pick(sqlite, "BLOB", "BYTEA"), nil
	}
	if upper == "{TEXT}" || upper == "TEXT" && previous != "AS" {
		return pick(sqlite, "TEXT", `TEXT COLLATE "C"`), nil
	}
	if text[0] == '{' {
		return "", fmt.Errorf("unknown macro %s", text)
	}
	if !sqlite {
		return text, nil
	}
	switch upper {
	case "BIGINT", "BOOLEAN":
		return "INTEGER", nil
	case "DOUBLE":
		return "REAL", nil
	case "PRECISION":
		if previous == "DOUBLE" {
			return "", nil
		}
	}
	return text, nil
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// readsOnly reports whether sql surely writes nothing.
func readsOnly(sql string) bool {
	first := ""
	for _, w := range split(sql) {
		if !w.code || !wordByte(w.text[0]) {
			continue
		}
		upper := strings.ToUpper(w.text)
		if first == "" {
			first = upper
			if first != "SELECT" && first != "WITH" && first != "VALUES" {
				return false
			}
		}
		switch upper {
		case "INSERT", "UPDATE", "DELETE":
			return false
		}
	}
	return first != ""
}
