package matrixhttp

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Decode reads the body into a new T, a struct with json tags. The body must pass
// the strict gate (M_NOT_JSON otherwise) and have the types of T (M_BAD_JSON that
// names the field). Members that T does not have are ignored; a name in another
// case is another name.
func Decode[T any](r *Request) (*T, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := Unmarshal(body, v); err != nil {
		return nil, err
	}
	return v, nil
}

// Unmarshal reads canonical JSON into v as [Decode] does.
func Unmarshal(canonical []byte, v any) error {
	exact := appendExact(make([]byte, 0, len(canonical)), reflect.TypeOf(v), canonical)
	err := json.Unmarshal(exact, v)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		return merr.BadJSON("%s must be %s", wrong.Field, jsonType(wrong.Type))
	default:
		return merr.BadJSON("The request body is not what this endpoint takes")
	}
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "an integer"
	}
}

// appendExact copies val without the members that t does not name exactly:
// encoding/json would take them in any case of letters.
func appendExact(dst []byte, t reflect.Type, val []byte) []byte {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(val) == 0 || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return append(dst, val...)
	}
	switch {
	case t.Kind() == reflect.Struct && val[0] == '{':
		return appendMembers(dst, val, func(key string) (reflect.Type, bool) { return fieldType(t, key) })
	case t.Kind() == reflect.Map && val[0] == '{':
		return appendMembers(dst, val, func(string) (reflect.Type, bool) { return t.Elem(), true })
	case t.Kind() == reflect.Slice && val[0] == '[':
		dst = append(dst, '[')
		first := true
		pdu.Elements(val, func(element []byte) bool {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendExact(dst, t.Elem(), element)
			return true
		})
		return append(dst, ']')
	}
	return append(dst, val...)
}

func appendMembers(dst, object []byte, field func(key string) (reflect.Type, bool)) []byte {
	dst = append(dst, '{')
	first := true
	pdu.Members(object, func(key string, val []byte) bool {
		t, ok := field(key)
		if !ok {
			return true
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = pdu.AppendString(dst, key)
		dst = append(dst, ':')
		dst = appendExact(dst, t, val)
		return true
	})
	return append(dst, '}')
}

func fieldType(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == key && name != "-" && f.IsExported() {
			return f.Type, true
		}
	}
	return nil, false
}
