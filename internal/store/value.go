package store

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	null kind = iota
	integer
	float
	boolean
	text
	blob
)

func (k kind) String() string {
	return [...]string{"NULL", "integer", "float", "boolean", "text", "blob"}[k]
}

// cell is one column value of the current row.
type cell struct {
	kind kind
	n    int64  // integer, boolean (0 or 1), bits of a float
	s    string // text, unless b holds it
	b    []byte // blob, or text that is borrowed
	// borrowed says that b belongs to the result and must be copied.
	borrowed bool
}

func (c *cell) float() float64 { return math.Float64frombits(uint64(c.n)) }

func (c *cell) string() string {
	if c.borrowed {
		return string(c.b)
	}
	return c.s
}

// bytes returns bytes that the caller may keep and change.
func (c *cell) bytes() []byte {
	switch {
	case c.kind == text && !c.borrowed:
		return []byte(c.s)
	case c.borrowed || c.b == nil:
		return append(make([]byte, 0, len(c.b)), c.b...)
	}
	return c.b
}

// integer returns the value as a number. Text counts if it is a whole decimal
// number: that is how PostgreSQL's NUMERIC arrives, which its sum() makes.
func (c *cell) integer() (int64, bool) {
	switch c.kind {
	case integer, boolean:
		return c.n, true
	case float:
		f := c.float()
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<63
	case text:
		whole, fraction, _ := strings.Cut(c.string(), ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		return n, err == nil && strings.Trim(fraction, "0") == ""
	}
	return 0, false
}

// assign copies c to dst, which is one of the documented scan targets.
func (c *cell) assign(dst any) error {
	if c.kind == null {
		return setNull(dst)
	}
	ok := true
	switch d := dst.(type) {
	case *int64:
		*d, ok = c.integer()
	case *int:
		var n int64
		n, ok = c.integer()
		*d = int(n)
	case *bool:
		ok = c.kind == boolean || c.kind == integer
		*d = c.n != 0
	case *string:
		ok = c.kind == text
		*d = c.string()
	case *[]byte:
		if ok = c.kind == text || c.kind == blob; ok {
			*d = c.bytes()
		}
	case *float64:
		*d, ok = c.toFloat()
	case sql.Scanner:
		return d.Scan(c.value())
	default:
		return c.assignKind(reflect.ValueOf(dst))
	}
	if !ok {
		return fmt.Errorf("store: cannot scan %s into %T", c.kind, dst)
	}
	return nil
}

func (c *cell) toFloat() (float64, bool) {
	switch c.kind {
	case float:
		return c.float(), true
	case integer:
		return float64(c.n), true
	case text:
		f, err := strconv.ParseFloat(c.string(), 64)
		return f, err == nil
	}
	return 0, false
}

// assignKind handles pointers to pointers and named types.
func (c *cell) assignKind(p reflect.Value) error {
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("store: scan target %s is not a pointer", p.Type())
	}
	v := p.Elem()
	ok := false
	switch v.Kind() {
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		if err := c.assign(target.Interface()); err != nil {
			return err
		}
		v.Set(target)
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		if n, ok = c.integer(); ok && !v.OverflowInt(n) {
			v.SetInt(n)
		} else {
			ok = false
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var n int64
		if n, ok = c.integer(); ok && n >= 0 && !v.OverflowUint(uint64(n)) {
			v.SetUint(uint64(n))
		} else {
			ok = false
		}
	case reflect.String:
		if ok = c.kind == text; ok {
			v.SetString(c.string())
		}
	case reflect.Bool:
		if ok = c.kind == boolean || c.kind == integer; ok {
			v.SetBool(c.n != 0)
		}
	case reflect.Slice:
		if ok = v.Type().Elem().Kind() == reflect.Uint8 && (c.kind == text || c.kind == blob); ok {
			v.SetBytes(c.bytes())
		}
	}
	if !ok {
		return fmt.Errorf("store: cannot scan %s into %s", c.kind, p.Type())
	}
	return nil
}

// value returns c as database/sql would, for sql.Scanner.
func (c *cell) value() driver.Value {
	switch c.kind {
	case integer:
		return c.n
	case boolean:
		return c.n != 0
	case float:
		return c.float()
	case text:
		return c.string()
	case blob:
		return c.bytes()
	}
	return nil
}

func setNull(dst any) error {
	switch d := dst.(type) {
	case *[]byte:
		*d = nil
		return nil
	case sql.Scanner:
		return d.Scan(nil)
	}
	p := reflect.ValueOf(dst)
	if p.Kind() == reflect.Pointer && !p.IsNil() {
		if k := p.Elem().Kind(); k == reflect.Pointer || k == reflect.Slice {
			p.Elem().SetZero()
			return nil
		}
	}
	return fmt.Errorf("store: cannot scan NULL into %T", dst)
}

// bound returns an argument as nil, int64, float64, bool, string or []byte. Text
// that PostgreSQL cannot store is refused on both engines.
func bound(a any) (any, error) {
	switch v := a.(type) {
	case nil, int64, bool:
		return a, nil
	case string:
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			return nil, fmt.Errorf("store: text argument is not UTF-8 or holds a zero byte")
		}
		return a, nil
	case []byte:
		if v == nil {
			return nil, nil
		}
		return a, nil
	case int:
		return int64(v), nil
	case float64:
		if math.IsNaN(v) {
			return nil, fmt.Errorf("store: argument is not a number")
		}
		return a, nil
	case *string:
		if v == nil {
			return nil, nil
		}
		return bound(*v)
	case *int64:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	case driver.Valuer:
		inner, err := v.Value()
		if err != nil {
			return nil, err
		}
		if _, again := inner.(driver.Valuer); again {
			return nil, fmt.Errorf("store: argument type %T", a)
		}
		return bound(inner)
	}
	return boundKind(reflect.ValueOf(a))
}

func boundKind(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("store: argument %d is too large", v.Uint())
		}
		return int64(v.Uint()), nil
	case reflect.String:
		return bound(v.String())
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Float32, reflect.Float64:
		return bound(v.Float())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return bound(v.Bytes())
		}
	case reflect.Pointer:
		if v.IsNil() {
			return nil, nil
		}
		return bound(v.Elem().Interface())
	}
	return nil, fmt.Errorf("store: argument type %s", v.Type())
}
