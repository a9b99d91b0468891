package matrixhttp

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth/internal/merr"
)

// Query reads the parameters of the query string. The first bad one is kept; a
// handler reads all that it needs and asks Err once.
type Query struct {
	values url.Values
	err    error
}

// Query parses the query string. Of a parameter that is there several times, the
// first counts, except for All.
func (r *Request) Query() *Query {
	values, err := url.ParseQuery(r.HTTP.URL.RawQuery)
	if err != nil {
		return &Query{err: merr.InvalidParam("The query string is malformed")}
	}
	for _, list := range values {
		for _, v := range list {
			if !cleanText(v) {
				return &Query{err: merr.InvalidParam("The query string is not valid text")}
			}
		}
	}
	return &Query{values: values}
}

// Err returns the first error.
func (q *Query) Err() error { return q.err }

// Has reports whether the parameter is there.
func (q *Query) Has(name string) bool { return q.values.Has(name) }

// String returns a parameter, "" if it is absent.
func (q *Query) String(name string) string { return q.values.Get(name) }

// All returns all values of a parameter.
func (q *Query) All(name string) []string { return q.values[name] }

// Int returns an integer, or otherwise if it is absent; less than least is an
// error, more than most is most.
func (q *Query) Int(name string, otherwise, least, most int64) int64 {
	s := q.values.Get(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least {
		q.fail(name)
		return otherwise
	}
	return min(n, most)
}

// Bool returns true or false, false if the parameter is absent.
func (q *Query) Bool(name string) bool {
	switch q.values.Get(name) {
	case "true":
		return true
	case "", "false":
	default:
		q.fail(name)
	}
	return false
}

// Enum returns one of the choices, or otherwise if the parameter is absent.
func (q *Query) Enum(name, otherwise string, choices ...string) string {
	s := q.values.Get(name)
	if s == "" {
		return otherwise
	}
	if !slices.Contains(choices, s) {
		q.fail(name)
		return otherwise
	}
	return s
}

func (q *Query) fail(name string) {
	if q.err == nil {
		q.err = merr.InvalidParam("Invalid value for the query parameter %s", name)
	}
}

// cleanText reports whether s is UTF-8 without NUL, which databases do not store.
func cleanText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
