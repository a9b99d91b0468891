package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"testing"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

type (
	nid  int64
	word string
)

func TestValuesComeBackAsTheyWere(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		body := []byte{0, 1, 0xff, 'x'}
		name := "na'me é 𝄞"
		write(t, db, func(tx *store.Tx) error {
			return tx.Exec("INSERT INTO item (pos, name, body, flag, x) VALUES ($1, $2, $3, $4, $5)",
				int64(math.MaxInt64), name, body, true, 1.5)
		})
		write(t, db, func(tx *store.Tx) error { // NULL in every way, and empty values
			if err := tx.Exec("INSERT INTO item (pos, name, body, flag, x) VALUES ($1, $2, $3, $4, $5)",
				math.MinInt64, (*string)(nil), []byte(nil), false, nil); err != nil {
				return err
			}
			return tx.Exec("INSERT INTO item (pos, name, body, x) VALUES ($1, $2, $3, $4)", nid(0), word(""), []byte{}, 0.0)
		})
		body[0] = 9 // the store has a copy
		read(t, db, func(r *store.Reader) error {
			var (
				pos   int64
				s     string
				b, b2 []byte
				flag  bool
				x     float64
			)
			const one = "SELECT pos, name, body, flag, x FROM item WHERE pos = $1"
			if err := r.Row(one, int64(math.MaxInt64)).Scan(&pos, &s, &b, &flag, &x); err != nil {
				return err
			}
			if pos != math.MaxInt64 || s != name || !bytes.Equal(b, []byte{0, 1, 0xff, 'x'}) || !flag || x != 1.5 {
				return fmt.Errorf("%d %q %x %v %v", pos, s, b, flag, x)
			}
			row := r.Row("SELECT body, name FROM item WHERE pos = $1", int64(math.MaxInt64))
			var text []byte
			if err := row.Scan(&b, &text); err != nil || string(text) != name {
				return fmt.Errorf("text as bytes %q: %w", text, err)
			}
			b[1] = 7
			if err := row.Scan(&b2, &text); err != nil {
				return err
			}
			return scanNulls(r)
		})
	})
}

func scanNulls(r *store.Reader) error {
	var (
		name  *string
		none  sql.NullString
		body  = []byte("x")
		n     int
		typed nid
		flag  *bool
		x     sql.NullFloat64
	)
	err := r.Row("SELECT name, name, body, flag, x FROM item WHERE pos = $1", math.MinInt64).Scan(&name, &none, &body, &flag, &x)
	if err != nil || name != nil || none.Valid || body != nil || flag == nil || *flag || x.Valid {
		return fmt.Errorf("NULLs: %v %v %v %v %v: %w", name, none, body, flag, x, err)
	}
	var w word
	err = r.Row("SELECT pos, pos, name, name, body, x FROM item WHERE pos = 0").Scan(&n, &typed, &name, &w, &body, &x)
	if err != nil || n != 0 || name == nil || *name != "" || w != "" || body == nil || len(body) != 0 || !x.Valid {
		return fmt.Errorf("empty values: %v %v %v %v: %w", n, name, body, x, err)
	}
	if err := r.Row("SELECT name FROM item WHERE pos = $1", math.MinInt64).Scan(&w); err == nil {
		return fmt.Errorf("NULL became %q", w)
	}
	if err := r.Row("SELECT name FROM item WHERE pos = 0").Scan(&n); err == nil {
		return fmt.Errorf("text became %d", n)
	}
	var a, b int
	if err := r.Row("SELECT pos FROM item WHERE pos = 0").Scan(&a, &b); err == nil {
		return fmt.Errorf("one column filled two targets")
	}
	if err := r.Row("SELECT pos FROM item WHERE pos = 5").Scan(&a); err != store.ErrNoRows {
		return fmt.Errorf("no row: %w", err)
	}
	return nil
}

func TestArgumentsGoByNumber(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, func(tx *store.Tx) error {
			return tx.Exec("INSERT INTO pair (v, b, a) VALUES ($3, $2, $1)", "first", 2, "third")
		})
		read(t, db, func(r *store.Reader) error {
			var a, v string
			var b int
			err := r.Row("SELECT a, b, v FROM pair WHERE b = $2 AND a = $1 AND (v = $3 OR v = $3)", "first", 2, "third").Scan(&a, &b, &v)
			if err != nil || a != "first" || v != "third" {
				return fmt.Errorf("%q %d %q: %w", a, b, v, err)
			}
			return nil
		})
	})
}

// TestBadStatementsFailOnBothEngines has what SQLite alone would take.
func TestBadStatementsFailOnBothEngines(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		const insert = "INSERT INTO item (pos, name, body) VALUES ($1, $2, $3)"
		for name, args := range map[string][]any{
			"text into a number":   {"one", "x", nil},
			"text into a blob":     {1, "x", "y"},
			"blob into a text":     {1, []byte("x"), nil},
			"too few arguments":    {1, "x"},
			"too many arguments":   {1, "x", nil, 4},
			"a zero byte in text":  {1, "a\x00b", nil},
			"text that is no text": {1, "\xff", nil},
			"an unknown type":      {1, "x", struct{}{}},
			"a number too large":   {uint64(math.MaxUint64), "x", nil},
			"not a number":         {math.NaN(), "x", nil},
		} {
			if err := db.Write(context.Background(), func(tx *store.Tx) error { return tx.Exec(insert, args...) }); err == nil {
				t.Errorf("%s passed", name)
			}
		}
		for _, sql := range []string{"INSERT INTO item (pos) VALUES (?)", "nonsense", "INSERT INTO nowhere VALUES (1)"} {
			if err := db.Write(context.Background(), func(tx *store.Tx) error { return tx.Exec(sql) }); err == nil {
				t.Errorf("%s passed", sql)
			}
			if err := db.Read(context.Background(), func(r *store.Reader) error { return r.Row(sql).Scan() }); err == nil {
				t.Errorf("reading: %s passed", sql)
			}
		}
		err := db.Read(context.Background(), func(r *store.Reader) error {
			_, err := r.Query("INSERT INTO item (pos) VALUES (77) RETURNING pos")
			return err
		})
		if err == nil {
			t.Error("a reader wrote")
		}
		write(t, db, add("fine"))
		if got := names(t, db); !slices.Equal(got, []string{"fine"}) {
			t.Errorf("stored %q", got)
		}
	})
}

func TestTextIsOrderedByBytes(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		want := []string{"", "!", "A", "B", "Z", "_", "a", "b", "z", "Ä", "ä", "𝄞"}
		write(t, db, func(tx *store.Tx) error {
			for i, s := range want {
				if err := tx.Exec("INSERT INTO pair (a, b, v) VALUES ($1, $2, $1)", s, (i*7)%12); err != nil {
					return err
				}
			}
			return nil
		})
		read(t, db, func(r *store.Reader) error {
			for _, column := range []string{"a", "v"} { // {text} and TEXT
				rows, err := r.Query("SELECT " + column + " FROM pair WHERE " + column + " >= '' ORDER BY " + column)
				if err != nil {
					return err
				}
				var got []string
				for rows.Next() {
					var s string
					if err := rows.Scan(&s); err != nil {
						return err
					}
					got = append(got, s)
				}
				if !slices.Equal(got, want) {
					t.Errorf("column %s: %q", column, got)
				}
			}
			return nil
		})
	})
}

func TestCommonSQL(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, func(tx *store.Tx) error {
			const upsert = `INSERT INTO pair (a, b, v) VALUES ($1, $2, $3)
				ON CONFLICT (a, b) DO UPDATE SET v = excluded.v RETURNING v`
			for i, v := range []string{"x", "y"} {
				var got string
				if err := tx.Row(upsert, "k", 1, v).Scan(&got); err != nil || got != v {
					return fmt.Errorf("upsert %d: %q: %w", i, got, err)
				}
			}
			for i := range 5 {
				if err := tx.Exec("INSERT INTO pair (a, b) VALUES ($1, $2)", "n", i); err != nil {
					return err
				}
			}
			var sum int64
			var mean float64
			var exists bool
			err := tx.Row("SELECT sum(b), avg(b), EXISTS (SELECT 1 FROM pair WHERE (a, b) > ($1, $2)) FROM pair WHERE a IN ($1, $3)", "n", 2, "zz").
				Scan(&sum, &mean, &exists)
			if err != nil || sum != 10 || mean != 2 || !exists {
				return fmt.Errorf("%d %v %v: %w", sum, mean, exists, err)
			}
			var depth int
			return tx.Row(`WITH RECURSIVE up(n) AS (SELECT b FROM pair WHERE a = $1 AND b = 0
				UNION ALL SELECT p.b FROM pair p JOIN up ON p.a = $1 AND p.b = up.n + 1) SELECT count(*) FROM up`, "n").Scan(&depth)
		})
	})
}

func TestManyStatementTexts(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		query := func(q store.Queryer, i int) error {
			var n int
			return q.Row(fmt.Sprintf("SELECT %d FROM item WHERE pos = $1", i), 1).Scan(&n)
		}
		for i := range 700 { // more than any connection keeps
			read(t, db, func(r *store.Reader) error { return query(r, i) })
		}
		write(t, db, func(tx *store.Tx) error {
			for i := range 700 {
				if err := query(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
