package config

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
)

// field is one key with a value of its own: a leaf of the tree of Config.
type field struct {
	path   string // listeners.client.address
	value  reflect.Value
	secret bool
}

// env returns the name of the variable that overrides the key.
func (f field) env() string {
	return envPrefix + strings.ToUpper(inEnv.Replace(f.path))
}

// env of an item of a list of sections has its number: HEARTH_SSO_PROVIDERS_0_NAME.
var inEnv = strings.NewReplacer(".", "_", "[", "_", "]", "")

// fields lists all keys of c in order of declaration; setting their values sets c.
func fields(c *Config) []field { return fieldsOf(reflect.ValueOf(c).Elem(), "") }

// fieldsOf lists the keys of a section. A list of sections is one key; its items come
// with the file.
func fieldsOf(section reflect.Value, prefix string) []field {
	var out []field
	var walk func(v reflect.Value, prefix string)
	walk = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			path := prefix + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				walk(v.Field(i), path+".")
				continue
			}
			out = append(out, field{path: path, value: v.Field(i), secret: f.Tag.Get("secret") == "true"})
		}
	}
	walk(section, prefix)
	return out
}

// isSections reports whether the value is a list of sections.
func (f field) isSections() bool {
	return f.value.Kind() == reflect.Slice && f.value.Type().Elem().Kind() == reflect.Struct && f.value.Type() != reflect.TypeFor[[]netip.Prefix]()
}

// setText stores a value that is written as text, as in the environment.
func (f field) setText(s string) error {
	switch p := f.value.Addr().Interface().(type) {
	case *string:
		*p = s
	case *bool:
		switch s {
		case "true", "false":
			*p = s == "true"
		default:
			return errText("must be true or false, not %q", s)
		}
	case *int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return errText("must be a whole number, not %q", s)
		}
		*p = n
	case *Duration:
		n, err := parseDuration(s)
		if err != nil {
			return errText("%w, not %q", err, s)
		}
		*p = n
	case *Size:
		n, err := parseSize(s)
		if err != nil {
			return errText("%w, not %q", err, s)
		}
		*p = n
	default:
		return f.setList(splitList(s))
	}
	return nil
}

// setList stores a list.
func (f field) setList(items []string) error {
	switch p := f.value.Addr().Interface().(type) {
	case *[]string:
		*p = items
	case *[]netip.Prefix:
		return parseNetworks(p, items)
	case **[]netip.Prefix:
		networks := new([]netip.Prefix)
		if err := parseNetworks(networks, items); err != nil {
			return err
		}
		*p = networks
	default:
		if f.isSections() {
			return errText("can be set in the file alone")
		}
		return errText("must be one value, not a list")
	}
	return nil
}

func (f field) isList() bool {
	t := f.value.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Slice
}

func splitList(s string) []string {
	items := []string{}
	if strings.TrimSpace(s) == "" {
		return items
	}
	for item := range strings.SplitSeq(s, ",") {
		items = append(items, strings.TrimSpace(item))
	}
	return items
}

// parseNetworks reads networks and single addresses. An IPv4 network in IPv6
// clothes is refused: which addresses it means is not obvious.
func parseNetworks(dst *[]netip.Prefix, items []string) error {
	out := make([]netip.Prefix, 0, len(items))
	for _, item := range items {
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(item); err == nil && addr.Zone() == "" {
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			}
		}
		if err != nil || !prefix.IsValid() || prefix.Addr().Is4In6() {
			return errText("%q is not a network such as 10.0.0.0/8 or fd00::/8, or an address", item)
		}
		if prefix != prefix.Masked() {
			return errText("%q has bits set beyond its length; did you mean %s?", item, prefix.Masked())
		}
		out = append(out, prefix)
	}
	*dst = out
	return nil
}
