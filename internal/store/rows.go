package store

import "fmt"

// source yields the rows of one result.
type source interface {
	// next fills cells with the next row and reports whether there was one.
	next(cells []cell) (bool, error)
	close() error
}

// Rows is the result of a query. It belongs to the goroutine of its Reader or Tx and
// ends with it. Rows that Next did not read to the end must be closed.
type Rows struct {
	src   source
	cells []cell
	on    bool // a row is current
	err   error
}

// Next steps to the next row. It returns false at the end and on an error; see Err.
func (r *Rows) Next() bool {
	if r.src == nil || r.err != nil {
		return false
	}
	r.on, r.err = r.src.next(r.cells)
	if !r.on {
		if err := r.Close(); r.err == nil {
			r.err = err
		}
	}
	return r.on
}

// Scan copies the current row to dst, one target a column. A []byte that it fills
// belongs to the caller.
func (r *Rows) Scan(dst ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.on {
		return fmt.Errorf("store: Scan without a row")
	}
	return scan(r.cells, dst)
}

// Err returns the error that ended Next, nil at the end of the result.
func (r *Rows) Err() error { return r.err }

// Close frees the result. It may be called again.
func (r *Rows) Close() error {
	if r.src == nil {
		return nil
	}
	src := r.src
	r.src, r.on = nil, false
	return src.close()
}

// Row is the first row of a result.
type Row struct {
	cells []cell
	err   error
}

// Scan copies the row to dst, one target a column. It returns ErrNoRows if the
// result was empty.
func (r *Row) Scan(dst ...any) error {
	if r.err != nil {
		return r.err
	}
	return scan(r.cells, dst)
}

func scan(cells []cell, dst []any) error {
	if len(cells) != len(dst) {
		return fmt.Errorf("store: %d scan targets for %d columns", len(dst), len(cells))
	}
	for i := range dst {
		if err := cells[i].assign(dst[i]); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// first reads the first row of rows.
func first(rows *Rows, err error) *Row {
	if err != nil {
		return &Row{err: err}
	}
	found := rows.Next()
	row := &Row{cells: rows.cells, err: rows.err}
	if err := rows.Close(); row.err == nil {
		row.err = err
	}
	if row.err == nil && !found {
		row.err = ErrNoRows
	}
	return row
}

// buffered is a result in memory.
type buffered struct {
	rows  []cell
	width int
}

func (b *buffered) next(cells []cell) (bool, error) {
	if len(b.rows) == 0 || b.width == 0 {
		return false, nil
	}
	copy(cells, b.rows[:b.width])
	b.rows = b.rows[b.width:]
	return true, nil
}

func (b *buffered) close() error { return nil }

// drain reads all of rows into memory, so that statements that follow cannot change
// what the rest of it shows.
func drain(rows *Rows) (*Rows, error) {
	b := &buffered{width: len(rows.cells)}
	for rows.Next() {
		b.rows = append(b.rows, rows.cells...)
	}
	if rows.err != nil {
		return nil, rows.err
	}
	return &Rows{src: b, cells: rows.cells}, nil
}
