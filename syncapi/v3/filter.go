package v3

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Bounds of a filter.
const (
	maxFilter    = 128 << 10 // bytes
	defaultLimit = 10        // timeline events of a room
	maxLimit     = 1000
)

// filter is a filter definition (client-server API, "Filtering") ready for use.
type filter struct {
	Fields      []string    `json:"event_fields"`
	AccountData eventFilter `json:"account_data"`
	Presence    eventFilter `json:"presence"`
	Room        roomFilter  `json:"room"`

	fields *fieldTree // nil: all
}

// roomFilter is a RoomFilter.
type roomFilter struct {
	roomSet
	IncludeLeave bool            `json:"include_leave"`
	Ephemeral    roomEventFilter `json:"ephemeral"`
	State        roomEventFilter `json:"state"`
	Timeline     roomEventFilter `json:"timeline"`
	AccountData  roomEventFilter `json:"account_data"`
}

// roomEventFilter is a RoomEventFilter.
type roomEventFilter struct {
	eventFilter
	roomSet
	ContainsURL      *bool `json:"contains_url"`
	Lazy             bool  `json:"lazy_load_members"`
	IncludeRedundant bool  `json:"include_redundant_members"`
	// UnreadThreads asks for counts by thread; it counts in the timeline's filter.
	UnreadThreads bool `json:"unread_thread_notifications"`
	// Only the owner of rooms knows which events have such children.
	RelatedByRelTypes []string `json:"related_by_rel_types"`
	RelatedBySenders  []string `json:"related_by_senders"`
}

// eventFilter is an EventFilter. A list that is nil selects everything.
type eventFilter struct {
	Limit      *float64 `json:"limit"`
	Types      []string `json:"types"`
	NotTypes   []string `json:"not_types"`
	Senders    []string `json:"senders"`
	NotSenders []string `json:"not_senders"`
}

// roomSet is the choice of rooms that filters on two levels have.
type roomSet struct {
	Rooms    []string `json:"rooms"`
	NotRooms []string `json:"not_rooms"`

	in, out map[string]struct{}
}

// parseFilter reads a definition; an empty one selects everything.
func parseFilter(raw json.RawMessage) (*filter, error) {
	f := new(filter)
	if len(bytes.TrimSpace(raw)) > 0 {
		if len(raw) > maxFilter {
			return nil, merr.TooLarge("The filter is too large")
		}
		if err := json.Unmarshal(raw, f); err != nil {
			return nil, merr.BadJSON("The filter is not valid").WithCause(err)
		}
	}
	if n := f.Room.Timeline.Limit; n != nil && (*n < 0 || *n != math.Trunc(*n)) {
		return nil, merr.InvalidParam("The filter's limit is not a positive integer")
	}
	for _, set := range []*roomSet{
		&f.Room.roomSet, &f.Room.Ephemeral.roomSet, &f.Room.State.roomSet, &f.Room.Timeline.roomSet, &f.Room.AccountData.roomSet,
	} {
		set.prepare()
	}
	f.fields = newFieldTree(f.Fields)
	return f, nil
}

func (s *roomSet) prepare() {
	s.in, s.out = setOf(s.Rooms), setOf(s.NotRooms)
}

func setOf(list []string) map[string]struct{} {
	if list == nil {
		return nil
	}
	set := make(map[string]struct{}, len(list))
	for _, v := range list {
		set[v] = struct{}{}
	}
	return set
}

// has reports whether the room is selected.
func (s *roomSet) has(roomID string) bool {
	if s.in != nil {
		if _, ok := s.in[roomID]; !ok {
			return false
		}
	}
	_, out := s.out[roomID]
	return !out
}

// limit is the greatest number of timeline events of a room.
func (f *filter) limit() int {
	if n := f.Room.Timeline.Limit; n != nil {
		return int(min(*n, maxLimit))
	}
	return defaultLimit
}

// timeline is the timeline's filter as the roomserver takes it.
func (f *filter) timeline() roomapi.EventFilter {
	t := &f.Room.Timeline
	return roomapi.EventFilter{
		Types: t.Types, NotTypes: t.NotTypes, Senders: t.Senders, NotSenders: t.NotSenders, ContainsURL: t.ContainsURL,
		RelatedByRelTypes: t.RelatedByRelTypes, RelatedBySenders: t.RelatedBySenders,
	}
}

// all reports whether every event is selected.
func (f *roomEventFilter) all() bool {
	return f.Types == nil && f.Senders == nil && f.ContainsURL == nil && len(f.NotTypes) == 0 && len(f.NotSenders) == 0 && !f.byChildren()
}

// byChildren reports whether events are selected by their children.
func (f *roomEventFilter) byChildren() bool {
	return f.RelatedByRelTypes != nil || f.RelatedBySenders != nil
}

// event reports whether an event is selected; the room was checked before.
func (f *roomEventFilter) event(e *roomapi.Event) bool {
	if f.all() {
		return true
	}
	if !f.hasType(e.Type) || !f.hasSender(e.Sender) {
		return false
	}
	return f.ContainsURL == nil || *f.ContainsURL == hasURL(e)
}

func (f *eventFilter) hasType(t string) bool {
	return (f.Types == nil || matchAny(f.Types, t)) && !matchAny(f.NotTypes, t)
}

func (f *eventFilter) hasSender(s string) bool {
	return (f.Senders == nil || slices.Contains(f.Senders, s)) && !slices.Contains(f.NotSenders, s)
}

func hasURL(e *roomapi.Event) bool {
	var content map[string]json.RawMessage
	if json.Unmarshal(e.Content(), &content) != nil {
		return false
	}
	_, ok := content["url"]
	return ok
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if match(p, s) {
			return true
		}
	}
	return false
}

// match reports whether s matches a pattern in which * stands for any sequence. It
// takes at most len(pattern)·len(s) steps.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0: // let the last * take one byte more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
