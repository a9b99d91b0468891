package roomapi

import (
	"bytes"

	"hearth/internal/bus"
)

// Search finds events by their words in the rooms that a user is or was in ("Server
// Side Search"), as far as the user may see them. What was sent a moment ago may be
// missing.
var Search = bus.Call[SearchRequest, SearchResponse]{Subject: "roomserver.search"}

// Keys that can be searched.
const (
	SearchBody  = "content.body"
	SearchName  = "content.name"
	SearchTopic = "content.topic"
)

// SearchRequest says what to find.
type SearchRequest struct {
	UserID string
	Term   string
	Keys   []string // nil: all
	Filter EventFilter
	// Rooms and NotRooms select rooms; nil Rooms: all.
	Rooms    []string
	NotRooms []string `json:",omitempty"`
	// InRoom and BySender, if not empty, narrow the search further, to a group of results.
	InRoom, BySender string
	// Recent orders by time, newest first; otherwise the best match comes first.
	Recent bool
	Limit  int // at most 100
	// From is Next of an earlier answer to the same request.
	From string
	// Context, if not nil, asks for what stands around each result.
	Context *SearchContext
	// Ignored users' events are left out.
	Ignored []string
}

// SearchContext bounds the events around a result.
type SearchContext struct {
	Before, After int // at most 50 each
	Profiles      bool
}

// SearchResponse is a page of results. It holds fewer than asked for when they are large.
type SearchResponse struct {
	Results []*SearchResult
	// Count is about how many events match on all pages.
	Count int
	// Highlights are the words to mark.
	Highlights []string
	// Next is where the next page starts; empty: there is none.
	Next string
}

// SearchResult is an event that was found. Start and End are set with a context.
type SearchResult struct {
	RoomID        string
	Rank          float64
	Event         *Event
	Start, End    Point
	Before, After []*Event // newest first, oldest first
	// Profiles are those of the senders at the time of the result.
	Profiles []SenderProfile
}

// SenderProfile is what a user's member event said.
type SenderProfile struct {
	UserID  string
	Profile Profile
}

// AppendWire appends the encoded page to dst.
func (s *SearchResponse) AppendWire(dst []byte) []byte {
	enc := bus.NewEncoder(dst)
	enc.Int(int64(s.Count))
	enc.Strings(s.Highlights)
	enc.String(s.Next)
	enc.Uint(uint64(len(s.Results)))
	for _, r := range s.Results {
		enc.String(r.RoomID)
		enc.Float(r.Rank)
		appendEvent(&enc, r.Event)
		appendPoint(&enc, r.Start)
		appendPoint(&enc, r.End)
		appendEvents(&enc, r.Before)
		appendEvents(&enc, r.After)
		enc.Uint(uint64(len(r.Profiles)))
		for _, p := range r.Profiles {
			enc.Strings([]string{p.UserID, p.Profile.DisplayName, p.Profile.AvatarURL})
		}
	}
	return enc.Buffer()
}

// ParseWire decodes what AppendWire wrote. It keeps nothing of b.
func (s *SearchResponse) ParseWire(b []byte) error {
	dec := bus.NewDecoder(bytes.Clone(b))
	s.Count = int(dec.Int())
	s.Highlights = dec.Strings()
	s.Next = dec.String()
	for range dec.Count() {
		r, err := parseSearchResult(&dec)
		if err != nil {
			return err
		}
		s.Results = append(s.Results, r)
	}
	return dec.Err()
}

func parseSearchResult(dec *bus.Decoder) (r *SearchResult, err error) {
	r = &SearchResult{RoomID: dec.String(), Rank: dec.Float()}
	if r.Event, err = parseEvent(dec); err != nil {
		return nil, err
	}
	if r.Event == nil {
		return nil, bus.ErrWire
	}
	r.Start, r.End = parsePoint(dec), parsePoint(dec)
	for _, list := range []*[]*Event{&r.Before, &r.After} {
		if *list, err = parseEvents(dec); err != nil {
			return nil, err
		}
	}
	for range dec.Count() {
		p := dec.Strings()
		if len(p) != 3 {
			return nil, bus.ErrWire
		}
		r.Profiles = append(r.Profiles, SenderProfile{p[0], Profile{DisplayName: p[1], AvatarURL: p[2]}})
	}
	return r, dec.Err()
}
