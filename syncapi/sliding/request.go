package sliding

import (
	"encoding/json"
	"maps"
	"slices"

	"hearth/internal/merr"
)

// Bounds of a request. MSC4186 names those of lists and, for the accepted form, of
// subscriptions; a client of the unstable form may have one for each room on its screen.
const (
	maxLists         = 100
	maxSubscriptions = 100
	maxUnstableSubs  = 500
	maxTimeline      = 100 // events of a room; more are not an error
	maxRanges        = 100
	maxName          = 255 // of a list or a connection
	maxPatterns      = 500 // of one required_state
)

// request is the body of a request, checked.
type request struct {
	conn  string
	txn   string
	rules *rules
	ext   extensions
}

// rules say which rooms the client wants, and what of them.
type rules struct {
	text  string     // the same for the same rules
	lists []roomList // in order of name
	subs  map[string]config
	// What lists look at.
	direct, tags, facts, spaces bool
	// simple: every list is a window that begins with the first room.
	simple bool
}

type roomList struct {
	name    string
	ranges  []span // nil: all rooms
	filters *filters
	config
}

// span is a range of indexes, both inclusive.
type span struct{ first, last int }

// config is a room config.
type config struct {
	limit int
	state *stateRule
}

type body struct {
	ConnID string          `json:"conn_id"`
	TxnID  string          `json:"txn_id"`
	Lists  json.RawMessage `json:"lists"`
	Subs   json.RawMessage `json:"room_subscriptions"`
	Ext    extensions      `json:"extensions"`
}

type configBody struct {
	Limit *int64          `json:"timeline_limit"`
	State json.RawMessage `json:"required_state"`
}

type listBody struct {
	configBody
	Ranges  [][]int64 `json:"ranges"`
	Range   []int64   `json:"range"`
	Filters *filters  `json:"filters"`
}

// parse reads a body.
func parse(raw json.RawMessage, stable bool) (*request, error) {
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, merr.BadJSON("The request is not valid").WithCause(err)
	}
	if len(b.ConnID) > maxName || len(b.TxnID) > maxName {
		return nil, merr.InvalidParam("conn_id or txn_id is too long")
	}
	if _, err := b.Ext.Threads.limit(); err != nil {
		return nil, err
	}
	r := &request{conn: b.ConnID, ext: b.Ext}
	if !stable {
		r.txn = b.TxnID
	}
	r.rules = &rules{text: string(b.Lists) + "\x00" + string(b.Subs), simple: true}
	if err := r.rules.parse(&b, stable); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *rules) parse(b *body, stable bool) error {
	var lists map[string]listBody
	var subs map[string]configBody
	for raw, into := range map[*json.RawMessage]any{&b.Lists: &lists, &b.Subs: &subs} {
		if len(*raw) > 0 {
			if err := json.Unmarshal(*raw, into); err != nil {
				return merr.BadJSON("The request is not valid").WithCause(err)
			}
		}
	}
	most := maxUnstableSubs
	if stable {
		most = maxSubscriptions
	}
	if len(lists) > maxLists || len(subs) > most {
		return merr.InvalidParam("There are too many lists or subscriptions")
	}
	shared := map[string]*stateRule{}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if !validName(name, stable) {
			return merr.InvalidParam("The name of a list is not valid")
		}
		l := lists[name]
		if err := r.addList(name, &l, stable, shared); err != nil {
			return err
		}
	}
	r.subs = make(map[string]config, len(subs))
	for id, c := range subs {
		conf, err := c.config(stable, shared)
		if err != nil {
			return err
		}
		r.subs[id] = conf
	}
	return nil
}

// validName applies the grammar of opaque identifiers in the accepted form.
func validName(name string, stable bool) bool {
	if len(name) > maxName || stable && name == "" {
		return false
	}
	for i := 0; stable && i < len(name); i++ {
		switch c := name[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

func (r *rules) addList(name string, b *listBody, stable bool, shared map[string]*stateRule) error {
	conf, err := b.config(stable, shared)
	if err != nil {
		return err
	}
	l := roomList{name: name, filters: b.Filters, config: conf}
	ranges := b.Ranges
	if stable && b.Range != nil {
		ranges = [][]int64{b.Range}
	} else if stable {
		ranges = nil
	}
	if l.ranges, err = spans(ranges); err != nil {
		return err
	}
	r.simple = r.simple && (l.ranges == nil || len(l.ranges) == 1 && l.ranges[0].first == 0)
	if f := l.filters; f != nil {
		r.direct = r.direct || f.IsDM != nil
		r.tags = r.tags || f.Tags != nil || f.NotTags != nil
		r.facts = r.facts || f.needFacts()
		r.spaces = r.spaces || f.Spaces != nil
	}
	r.lists = append(r.lists, l)
	return nil
}

// spans sorts ranges and merges those that touch; nil for none.
func spans(ranges [][]int64) ([]span, error) {
	if len(ranges) > maxRanges {
		return nil, merr.InvalidParam("There are too many ranges")
	}
	var list []span
	for _, pair := range ranges {
		if len(pair) != 2 || pair[0] < 0 || pair[1] < pair[0] {
			return nil, merr.InvalidParam("A range is not valid")
		}
		const far = 1 << 30
		list = append(list, span{int(min(pair[0], far)), int(min(pair[1], far))})
	}
	slices.SortFunc(list, func(a, b span) int { return a.first - b.first })
	merged := list[:0]
	for _, s := range list {
		if n := len(merged); n > 0 && s.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return merged, nil
}

// has reports whether the list's window has an index.
func (l *roomList) has(index int) bool {
	for _, s := range l.ranges {
		if index >= s.first && index <= s.last {
			return true
		}
	}
	return l.ranges == nil
}

func (b *configBody) config(stable bool, shared map[string]*stateRule) (config, error) {
	var c config
	if b.Limit != nil {
		if *b.Limit < 0 {
			return c, merr.InvalidParam("timeline_limit is negative")
		}
		c.limit = int(min(*b.Limit, maxTimeline))
	} else if stable {
		return c, merr.MissingParam("timeline_limit")
	}
	var err error
	if c.state = shared[string(b.State)]; c.state == nil {
		c.state, err = parseState(b.State, stable)
		shared[string(b.State)] = c.state
	}
	return c, err
}
