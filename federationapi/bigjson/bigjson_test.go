package bigjson_test

import (
	"io"
	"strings"
	"testing"

	"hearth/federationapi/bigjson"
)

// read reads {"list": [...], ...} and returns the elements of the list and the other keys.
func read(r io.Reader) (list, keys []string, err error) {
	j := bigjson.New(r, 1000)
	err = j.Object(func(key string) error {
		if key == "list" {
			return j.Array(func() error {
				v, err := j.Value()
				list = append(list, string(v))
				return err
			})
		}
		keys = append(keys, key)
		_, err := j.Value()
		return err
	})
	if err == nil {
		err = j.End()
	}
	return list, keys, err
}

func TestReads(t *testing.T) {
	text := `{ "a": 1, "list": [ {"x":[1,{"y":"]"}]} , "s", 5 ], "b": {"list":[]} } ` + "\n"
	for _, r := range []io.Reader{strings.NewReader(text), oneByOne{strings.NewReader(text)}} {
		list, keys, err := read(r)
		if err != nil || strings.Join(list, "|") != `{"x":[1,{"y":"]"}]}|"s"|5` || strings.Join(keys, "|") != "a|b" {
			t.Errorf("%q %q %v", list, keys, err)
		}
	}
}

// oneByOne gives a byte at a time.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestRefuses(t *testing.T) {
	for _, text := range []string{
		``, ` `, `[]`, `1`, `{`, `{"list"`, `{"list":`, `{"list":[`, `{"list":[1`, `{"list":[1,`, `{"list":[1]`, `{"list":[1]}x`, `{"list":[1]}{}`,
		`{"list":{}}`, `{"list":null}`, `{"list":[1 2]}`, `{"list":[1}}`, `{"a":1,"a":2}`, `{"list":[],"list":[]}`, `{"a":tru}`, `{a:1}`,
		`{"a":"` + strings.Repeat("x", 5000) + `"}`,
		`{"list":[` + strings.Repeat("[", 20000),
	} {
		if list, keys, err := read(strings.NewReader(text)); err == nil {
			t.Errorf("%.40s gives %q %q", text, list, keys)
		}
	}
}

// endless is an object that never ends.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, `{"list":["`), nil
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestValuesThatNeverEndAreRefused(t *testing.T) {
	if _, _, err := read(&endless{}); err == nil {
		t.Error("a string without an end was read")
	}
}

func TestManySmallValuesAreRead(t *testing.T) {
	text := `{"list":[` + strings.Repeat(`{"k":"v"},`, 50_000) + `1]}`
	if list, _, err := read(strings.NewReader(text)); err != nil || len(list) != 50_001 {
		t.Errorf("%d %v", len(list), err)
	}
}

func FuzzObject(f *testing.F) {
	f.Add(`{"list":[1,2]}`)
	f.Add(`{"list":[{"a":[]}],"b":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _, _ = read(strings.NewReader(text)) // must return
	})
}
