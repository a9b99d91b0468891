package store

import "testing"

func TestNumbered(t *testing.T) {
	for sql, want := range map[string]struct {
		sql string
		n   int
	}{
		"SELECT $2, $1":                    {"SELECT ?2, ?1", 2},
		"SELECT '$1', \"$2\", $3 -- $4":    {"SELECT '$1', \"$2\", ?3 -- $4", 3},
		"SELECT 'it''s $1', $1 /* $2 */+1": {"SELECT 'it''s $1', ?1 /* $2 */+1", 1},
		"SELECT 1":                         {"SELECT 1", 0},
		"SELECT '$1":                       {"SELECT '$1", 0},
		"IN ($10,$11)":                     {"IN (?10,?11)", 11},
	} {
		got, n, err := numbered(sql)
		if err != nil || got != want.sql || n != want.n {
			t.Errorf("%q: %q, %d, %v", sql, got, n, err)
		}
	}
	for _, sql := range []string{"SELECT ?", "SELECT $0", "SELECT $", "SELECT $x", "SELECT $99999999999999999999"} {
		if got, _, err := numbered(sql); err == nil {
			t.Errorf("%q became %q", sql, got)
		}
	}
}

func TestTranslate(t *testing.T) {
	for sql, want := range map[string][2]string{
		"a {blob}, b {text}, c TEXT":    {"a BLOB, b TEXT, c TEXT", `a BYTEA, b TEXT COLLATE "C", c TEXT COLLATE "C"`},
		"a BIGINT, b boolean":           {"a INTEGER, b INTEGER", "a BIGINT, b boolean"},
		"x DOUBLE PRECISION NOT NULL":   {"x REAL  NOT NULL", "x DOUBLE PRECISION NOT NULL"},
		"CAST(a AS TEXT)":               {"CAST(a AS TEXT)", "CAST(a AS TEXT)"},
		") {clustered} {strict};":       {") WITHOUT ROWID, STRICT;", ") ;"},
		") {strict}, {clustered};":      {") WITHOUT ROWID, STRICT;", ") ;"},
		") {strict};":                   {") STRICT;", ") ;"},
		"'TEXT {blob}' -- TEXT {other}": {"'TEXT {blob}' -- TEXT {other}", "'TEXT {blob}' -- TEXT {other}"},
	} {
		for i, sqlite := range []bool{true, false} {
			if got, err := translate(sql, sqlite); err != nil || got != want[i] {
				t.Errorf("%q, sqlite %v: %q, %v", sql, sqlite, got, err)
			}
		}
	}
	if _, err := translate("a {bolb}", true); err == nil {
		t.Error("an unknown macro passed")
	}
}

func TestReadsOnly(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT a FROM b":                                true,
		"  -- comment\nselect 'UPDATE'":                  true,
		"WITH x AS (SELECT 1) SELECT * FROM x":           true,
		"WITH x AS (DELETE FROM y RETURNING 1) SELECT 1": false,
		"INSERT INTO a VALUES (1)":                       false,
		"SET LOCAL x = 1":                                false,
		"":                                               false,
	} {
		if readsOnly(sql) != want {
			t.Errorf("%q: %v", sql, !want)
		}
	}
}

// FuzzSplit checks that cutting SQL loses nothing and ends.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"SELECT $1, 'a''b' /* x", "{blob} \"", "--", "é$1€"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		joined := ""
		for _, w := range split(sql) {
			if w.text == "" {
				t.Fatal("empty word")
			}
			joined += w.text
		}
		if joined != sql {
			t.Fatalf("%q became %q", sql, joined)
		}
	})
}
