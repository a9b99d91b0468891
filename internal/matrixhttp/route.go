package matrixhttp

import (
	"fmt"
	"net/url"
	"strings"
)

// Handler answers one request. The result is written as JSON with status 200: nil
// is the empty object, [Raw] is copied, [Response] chooses status and header,
// [Stream] writes the body itself and [Serve] what is no JSON. Errors are written as Matrix errors.
type Handler func(r *Request) (any, error)

// Auth finds out who sends a request, writes it to r.Identity, or refuses.
type Auth func(r *Request) error

// Body says what an endpoint takes. The zero value takes none.
type Body struct {
	// Max is the greatest size in bytes; a larger body is 413 M_TOO_LARGE.
	Max int64
	// MayBeEmpty lets a request without a body stand for one with {}.
	MayBeEmpty bool
}

// Route is one line of a table of routes.
type Route struct {
	Method string
	// Path is the pattern: segments between slashes, each literal, a parameter such
	// as {roomId}, or alternatives such as (r0|v3). A trailing slash is part of it.
	Path string
	// Auth runs before the handler; nil: everybody may come in.
	Auth   Auth
	Body   Body
	Handle Handler
}

// maxSegments bounds the number of segments of a path, so that the work for one
// that we do not have is bounded too.
const maxSegments = 16

// node is one segment in the tree of patterns.
type node struct {
	static  map[string]*node
	param   *node
	methods map[string]*route
}

// route is what the mux keeps of a Route.
type route struct {
	Route
	label  string   // the pattern in logs and metrics
	params []string // names in order
}

func (n *node) add(r Route) error {
	segments, ok := strings.CutPrefix(r.Path, "/")
	if !ok {
		return fmt.Errorf("route %s %s: the path must begin with a slash", r.Method, r.Path)
	}
	e := &route{Route: r, label: label(r.Path)}
	nodes := []*node{n}
	for segment := range strings.SplitSeq(segments, "/") {
		var next []*node
		for _, at := range nodes {
			switch {
			case strings.HasPrefix(segment, "{"):
				if at.param == nil {
					at.param = &node{}
				}
				next = append(next, at.param)
			case strings.HasPrefix(segment, "("):
				for choice := range strings.SplitSeq(strings.Trim(segment, "()"), "|") {
					next = append(next, at.child(choice))
				}
			default:
				next = append(next, at.child(segment))
			}
		}
		if strings.HasPrefix(segment, "{") {
			e.params = append(e.params, strings.Trim(segment, "{}"))
		}
		nodes = next
	}
	if len(e.params) > maxParams {
		return fmt.Errorf("route %s %s: more than %d parameters", r.Method, r.Path, maxParams)
	}
	for _, at := range nodes {
		if at.methods == nil {
			at.methods = map[string]*route{}
		}
		if at.methods[r.Method] != nil {
			return fmt.Errorf("route %s %s is there twice", r.Method, r.Path)
		}
		at.methods[r.Method] = e
	}
	return nil
}

func (n *node) child(segment string) *node {
	if n.static == nil {
		n.static = map[string]*node{}
	}
	c := n.static[segment]
	if c == nil {
		c = &node{}
		n.static[segment] = c
	}
	return c
}

// label writes alternatives as the last one, which is the current version.
func label(path string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(path, "(")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		choices, after, _ := strings.Cut(rest, ")")
		b.WriteString(choices[strings.LastIndexByte(choices, '|')+1:])
		path = after
	}
}

// split cuts an escaped path into segments, as they came.
func split(escaped string, into []string) ([]string, bool) {
	if len(escaped) == 0 || escaped[0] != '/' {
		return nil, false
	}
	rest := escaped[1:]
	for {
		if len(into) == maxSegments {
			return nil, false
		}
		segment, after, found := strings.Cut(rest, "/")
		into = append(into, segment)
		if !found {
			return into, true
		}
		rest = after
	}
}

// find returns the node of a path and the values of its parameters. Literal
// segments match byte by byte, without decoding, so that a proxy which guards a
// path sees the same path as we do.
func (n *node) find(segments []string, params []string) (*node, []string) {
	if len(segments) == 0 {
		if n.methods == nil {
			return nil, nil
		}
		return n, params
	}
	segment := segments[0]
	if c := n.static[segment]; c != nil {
		if found, values := c.find(segments[1:], params); found != nil {
			return found, values
		}
	}
	if n.param == nil || segment == "" {
		return nil, nil
	}
	value, err := url.PathUnescape(segment)
	// Clients and proxies resolve dot segments, escaped or not: one that arrives
	// here is an attempt to be read differently by two programs.
	if err != nil || value == "." || value == ".." {
		return nil, nil
	}
	return n.param.find(segments[1:], append(params, value))
}
