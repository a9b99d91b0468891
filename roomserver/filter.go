package roomserver

import (
	"strings"

	"hearth/roomserver/roomapi"
)

// compiledFilter decides whether an event is wanted ("Filtering", RoomEventFilter).
type compiledFilter struct {
	f *roomapi.EventFilter
}

func compileFilter(f *roomapi.EventFilter) *compiledFilter { return &compiledFilter{f} }

// all reports whether the filter lets every event through.
func (c *compiledFilter) all() bool {
	f := c.f
	return f.Types == nil && len(f.NotTypes) == 0 && f.Senders == nil && len(f.NotSenders) == 0 && f.ContainsURL == nil
}

func (c *compiledFilter) matches(e *stored) bool {
	f := c.f
	if f.Types != nil && !anyPattern(f.Types, e.ev.Type) || anyPattern(f.NotTypes, e.ev.Type) {
		return false
	}
	if f.Senders != nil && !contains(f.Senders, e.ev.Sender) || contains(f.NotSenders, e.ev.Sender) {
		return false
	}
	return f.ContainsURL == nil || *f.ContainsURL == hasKey(e.ev.Content, "url")
}

func contains(list []string, s string) bool {
	for _, other := range list {
		if other == s {
			return true
		}
	}
	return false
}

func anyPattern(patterns []string, s string) bool {
	for _, p := range patterns {
		if matchPattern(p, s) {
			return true
		}
	}
	return false
}

// matchPattern matches a text against a pattern in which * stands for any text. It
// takes time in proportion to both lengths at most once for each star.
func matchPattern(pattern, s string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, starred := strings.Cut(rest, "*")
		if !starred {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
