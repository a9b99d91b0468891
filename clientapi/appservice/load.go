package appservice

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"hearth/internal/pdu"
)

const (
	// maxFile bounds a registration file, in bytes.
	maxFile = 1 << 20
	// maxID bounds the id of a service, in bytes.
	maxID = 255
)

// Load reads registration files. All that is wrong with them is one error, a line for
// each problem: file:line: key: text. No text holds a token.
func Load(paths []string, serverName string) (*Registrations, error) {
	l := &loader{server: serverName, ids: map[string]string{}, tokens: map[[sha256.Size]byte]string{}, out: &Registrations{}}
	for _, path := range paths {
		l.file = path
		l.load()
	}
	return l.out, errors.Join(l.problems...)
}

// loader collects registrations and problems.
type loader struct {
	server   string
	file     string
	ids      map[string]string // id → file
	tokens   map[[sha256.Size]byte]string
	problems []error
	out      *Registrations
}

func (l *loader) problem(line int, key, format string, args ...any) {
	place := l.file
	if line > 0 {
		place = fmt.Sprintf("%s:%d", place, line)
	}
	if key != "" {
		key += ": "
	}
	l.problems = append(l.problems, fmt.Errorf("%s: %s%s", place, key, fmt.Sprintf(format, args...)))
}

func (l *loader) load() {
	src, err := readFile(l.file)
	if err != nil {
		l.problems = append(l.problems, err)
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		l.badYAML(err)
		return
	}
	if err := dec.Decode(&next); err == nil {
		l.problem(next.Line, "", "there is a second YAML document; each service has its own file")
	} else if !errors.Is(err, io.EOF) {
		l.badYAML(err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		l.problem(root.Line, "", "must be keys with values")
		return
	}
	before := len(l.problems)
	r := l.registration(root)
	if len(l.problems) == before {
		l.out.all = append(l.out.all, r)
	}
}

func (l *loader) badYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1], &line) // 0 if far too many digits
		text = text[len(m[0]):]
	}
	l.problem(line, "", "this is not valid YAML: %s", text)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(src) > maxFile {
		err = fmt.Errorf("%s: is larger than %d bytes", path, maxFile)
	}
	return src, err
}

// flags are keys of experiments whose effect is always on, or which only ask for what
// the spec now has; their values do not matter.
var flags = []string{"io.element.msc4190", "org.matrix.msc4190", "ip_range_whitelist"}

func (l *loader) registration(root *yaml.Node) *Registration {
	m := l.mapping(root, "")
	r := &Registration{server: l.server, RateLimited: true}
	r.ID = m.text("id")
	if len(r.ID) > maxID || strings.Contains(r.ID, "|") {
		l.problem(m.line("id"), "id", "must have at most %d bytes and no |", maxID)
	}
	if other := l.ids[r.ID]; r.ID != "" && other != "" {
		l.problem(m.line("id"), "id", "is also that of the service in %s; each must have its own", other)
	}
	l.ids[r.ID] = l.file
	r.URL = l.url(m)
	if token := m.text("as_token"); token != "" {
		r.asToken = sha256.Sum256([]byte(token))
		if other := l.tokens[r.asToken]; other != "" {
			l.problem(m.line("as_token"), "as_token", "is also that of the service in %s; each must have its own", other)
		}
		l.tokens[r.asToken] = l.file
	}
	r.hsToken = m.text("hs_token")
	if strings.ContainsFunc(r.hsToken, func(c rune) bool { return c < 0x21 || c > 0x7e }) {
		l.problem(m.line("hs_token"), "hs_token", "must be ASCII without spaces, since it goes into a header")
	}
	if localpart := m.text("sender_localpart"); localpart != "" {
		r.Sender = "@" + localpart + ":" + l.server
		if _, _, err := pdu.ParseUserID(r.Sender); err != nil || strings.ContainsAny(localpart, "@:") {
			l.problem(m.line("sender_localpart"), "sender_localpart", "%q is not the local part of a user id", localpart)
		}
	}
	l.namespaces(m, r)
	r.RateLimited = m.boolean("rate_limited", true)
	r.Protocols = m.texts("protocols")
	stable := m.boolean("receive_ephemeral", false)
	unstable := m.boolean("de.sorunome.msc2409.push_ephemeral", false)
	unstable = m.boolean("org.matrix.msc2409.push_ephemeral", false) || unstable
	unstable = m.boolean("push_ephemeral", false) || unstable
	r.Ephemeral, r.stableEphemeral, r.unstableEphemeral = stable || unstable, stable, unstable
	r.Encryption = m.boolean("org.matrix.msc3202", false)
	for _, key := range flags {
		m.seen[key] = true
	}
	for _, key := range m.rest() {
		l.out.Warnings = append(l.out.Warnings, fmt.Sprintf("%s:%d: %s: there is no such key; it has no effect", l.file, m.line(key), key))
	}
	return r
}

// url reads the URL; null and "" mean none.
func (l *loader) url(m *mapping) string {
	node := m.get("url")
	if node == nil {
		l.problem(m.node.Line, "url", "is missing; write null if the service wants no traffic")
		return ""
	}
	if node.Tag == "!!null" || node.Tag == "!!str" && node.Value == "" {
		return ""
	}
	u, err := url.Parse(node.Value)
	if node.Tag != "!!str" || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		l.problem(node.Line, "url", "must be null or an address such as http://127.0.0.1:9000")
		return ""
	}
	return strings.TrimRight(node.Value, "/")
}

func (l *loader) namespaces(m *mapping, r *Registration) {
	node := m.get("namespaces")
	if node == nil {
		l.problem(m.node.Line, "namespaces", "is missing; {} is none")
		return
	}
	if node.Kind != yaml.MappingNode {
		l.problem(node.Line, "namespaces", "must hold users, aliases and rooms")
		return
	}
	n := l.mapping(node, "namespaces.")
	r.Users, r.Aliases, r.Rooms = l.list(n, "users"), l.list(n, "aliases"), l.list(n, "rooms")
	for _, key := range n.rest() {
		l.problem(n.line(key), "namespaces."+key, "there is no such key; allowed here: users, aliases, rooms")
	}
}

func (l *loader) list(m *mapping, key string) []Namespace {
	path := m.prefix + key
	node := m.get(key)
	if node == nil || node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		l.problem(node.Line, path, "must be a list; [] is an empty one")
		return nil
	}
	var out []Namespace
	for _, item := range node.Content {
		if item.Kind != yaml.MappingNode {
			l.problem(item.Line, path, "each item has the keys exclusive and regex")
			continue
		}
		entry := l.mapping(item, path+".")
		if entry.get("exclusive") == nil {
			l.problem(item.Line, path+".exclusive", "is missing; write true or false")
		}
		exclusive, expression := entry.boolean("exclusive", false), entry.text("regex")
		n, err := newNamespace(exclusive, expression)
		if err != nil {
			l.problem(entry.line("regex"), path+".regex", "%v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			continue
		}
		out = append(out, n)
	}
	return out
}
