package clientapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// maxSearchPage is how many results a page has at most.
const maxSearchPage = 100

type searchRequest struct {
	Categories *struct {
		RoomEvents *searchRoomEvents `json:"room_events"`
	} `json:"search_categories"`
}

type searchRoomEvents struct {
	Term    *string  `json:"search_term"`
	Keys    []string `json:"keys"`
	OrderBy string   `json:"order_by"`
	Filter  struct {
		Limit       *int64   `json:"limit"`
		Types       []string `json:"types"`
		NotTypes    []string `json:"not_types"`
		Senders     []string `json:"senders"`
		NotSenders  []string `json:"not_senders"`
		Rooms       []string `json:"rooms"`
		NotRooms    []string `json:"not_rooms"`
		ContainsURL *bool    `json:"contains_url"`
		RelTypes    []string `json:"related_by_rel_types"`
		RelSenders  []string `json:"related_by_senders"`
	} `json:"filter"`
	Context *struct {
		Before  *int64 `json:"before_limit"`
		After   *int64 `json:"after_limit"`
		Profile bool   `json:"include_profile"`
	} `json:"event_context"`
	IncludeState bool `json:"include_state"`
	Groupings    struct {
		GroupBy []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

// Keys of groups.
const (
	groupRoom   = "room_id"
	groupSender = "sender"
)

// search is POST /search.
func (s *Server) search(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	token := query.String("next_batch")
	if err := query.Err(); err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[searchRequest](r)
	if err != nil {
		return nil, err
	}
	if body.Categories == nil {
		return nil, merr.MissingParam("search_categories")
	}
	asked := body.Categories.RoomEvents
	if asked == nil { // there is no other category
		return matrixhttp.Raw(`{"search_categories":{}}`), nil
	}
	req, groups, err := asked.request(r.Identity.UserID, token)
	if err != nil {
		return nil, err
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if req.Ignored, err = s.ignored(r); err != nil {
		return nil, err
	}
	answer, err := roomapi.Search.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	out := s.appendResults([]byte(`{"search_categories":{"room_events":`), r, answer, req.Context != nil)
	out = appendGroups(out, answer, groups)
	if answer.Next != "" {
		out = pdu.AppendString(append(out, `,"next_batch":`...), searchToken{answer.Next, tokenKey(req), tokenID(req)}.String())
	}
	if !asked.IncludeState {
		return matrixhttp.Raw(append(out, `}}}`...)), nil
	}
	return matrixhttp.Stream(func(w io.Writer) error { return s.withStates(w, r, out, answer) }), nil
}

// request translates what a client asks for.
func (a *searchRoomEvents) request(userID, token string) (req *roomapi.SearchRequest, groups []string, err error) {
	if a.Term == nil {
		return nil, nil, merr.MissingParam("search_term")
	}
	f := &a.Filter
	req = &roomapi.SearchRequest{
		UserID: userID, Term: *a.Term, Keys: a.Keys, Recent: a.OrderBy == "recent", Rooms: f.Rooms, NotRooms: f.NotRooms, Limit: 10,
		Filter: roomapi.EventFilter{
			Types: f.Types, NotTypes: f.NotTypes, Senders: f.Senders, NotSenders: f.NotSenders, ContainsURL: f.ContainsURL,
			RelatedByRelTypes: f.RelTypes, RelatedBySenders: f.RelSenders,
		},
	}
	for _, key := range a.Keys {
		if key != roomapi.SearchBody && key != roomapi.SearchName && key != roomapi.SearchTopic {
			return nil, nil, merr.InvalidParam("keys can be content.body, content.name and content.topic")
		}
	}
	if a.OrderBy != "" && a.OrderBy != "recent" && a.OrderBy != "rank" {
		return nil, nil, merr.InvalidParam("order_by must be recent or rank")
	}
	if f.Limit != nil {
		if *f.Limit < 1 {
			return nil, nil, merr.InvalidParam("limit must be positive")
		}
		req.Limit = int(min(*f.Limit, maxSearchPage))
	}
	if c := a.Context; c != nil {
		req.Context = &roomapi.SearchContext{Before: limitOr(c.Before, 5), After: limitOr(c.After, 5), Profiles: c.Profile}
	}
	for _, g := range a.Groupings.GroupBy {
		if g.Key != groupRoom && g.Key != groupSender {
			return nil, nil, merr.InvalidParam("Results can be grouped by room_id and sender")
		}
		if !slices.Contains(groups, g.Key) {
			groups = append(groups, g.Key)
		}
	}
	return req, groups, placeSearch(req, token)
}

func limitOr(limit *int64, otherwise int) int {
	if limit == nil {
		return otherwise
	}
	return int(min(max(*limit, 0), 50))
}

// searchToken is where a search goes on, and in which group.
type searchToken struct{ next, key, id string }

func (t searchToken) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(t.next + "\n" + t.key + "\n" + t.id))
}

// placeSearch reads a token.
func placeSearch(req *roomapi.SearchRequest, token string) error {
	if token == "" {
		return nil
	}
	bad := merr.InvalidParam("Invalid pagination token")
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(text) > 2*maxText || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return bad
	}
	next, group, ok := strings.Cut(string(text), "\n")
	key, id, ok2 := strings.Cut(group, "\n")
	if !ok || !ok2 || next == "" || (key == "") != (id == "") {
		return bad
	}
	switch key {
	case groupRoom:
		req.InRoom = id
	case groupSender:
		req.BySender = id
	case "":
	default:
		return bad
	}
	req.From = next
	return nil
}

// tokenKey and tokenID name the group that a request is about.
func tokenKey(req *roomapi.SearchRequest) string {
	switch {
	case req.InRoom != "":
		return groupRoom
	case req.BySender != "":
		return groupSender
	}
	return ""
}

func tokenID(req *roomapi.SearchRequest) string { return req.InRoom + req.BySender }

// appendResults writes the count, the highlights and the results, and leaves the object open.
func (s *Server) appendResults(dst []byte, r *matrixhttp.Request, answer *roomapi.SearchResponse, context bool) []byte {
	dst = strconv.AppendInt(append(dst, `{"count":`...), int64(answer.Count), 10)
	dst = append(dst, `,"highlights":[`...)
	for i, word := range answer.Highlights {
		dst = pdu.AppendString(comma(dst, i), word)
	}
	dst = append(dst, `],"results":[`...)
	for i, found := range answer.Results {
		render := s.render(r, found.RoomID)
		dst = strconv.AppendFloat(append(comma(dst, i), `{"rank":`...), found.Rank, 'f', -1, 64)
		dst = found.Event.AppendJSON(append(dst, `,"result":`...), render)
		if context {
			dst = pdu.AppendString(append(dst, `,"context":{"start":`...), pointToken(found.Start))
			dst = pdu.AppendString(append(dst, `,"end":`...), pointToken(found.End))
			dst = appendEvents(append(dst, `,"events_before":`...), found.Before, render)
			dst = appendEvents(append(dst, `,"events_after":`...), found.After, render)
			dst = append(appendProfiles(append(dst, `,"profile_info":{`...), found.Profiles), `}}`...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendProfiles(dst []byte, profiles []roomapi.SenderProfile) []byte {
	for i, p := range profiles {
		dst = append(pdu.AppendString(comma(dst, i), p.UserID), ":{"...)
		if p.Profile.DisplayName != "" {
			dst = pdu.AppendString(append(dst, `"displayname":`...), p.Profile.DisplayName)
		}
		if p.Profile.AvatarURL != "" {
			if p.Profile.DisplayName != "" {
				dst = append(dst, ',')
			}
			dst = pdu.AppendString(append(dst, `"avatar_url":`...), p.Profile.AvatarURL)
		}
		dst = append(dst, '}')
	}
	return dst
}

// appendGroups writes the groups of the page, in the order of their first results.
func appendGroups(dst []byte, answer *roomapi.SearchResponse, keys []string) []byte {
	if len(keys) == 0 {
		return dst
	}
	dst = append(dst, `,"groups":{`...)
	for i, key := range keys {
		var ids []string
		results := make(map[string][]string)
		for _, found := range answer.Results {
			id := found.RoomID
			if key == groupSender {
				id = found.Event.Sender
			}
			if results[id] == nil {
				ids = append(ids, id)
			}
			results[id] = append(results[id], found.Event.EventID)
		}
		dst = append(pdu.AppendString(comma(dst, i), key), ":{"...)
		for order, id := range ids {
			dst = append(pdu.AppendString(comma(dst, order), id), `:{"order":`...)
			dst = append(strconv.AppendInt(dst, int64(order), 10), `,"results":[`...)
			for n, event := range results[id] {
				dst = pdu.AppendString(comma(dst, n), event)
			}
			dst = append(dst, ']')
			if answer.Next != "" {
				dst = pdu.AppendString(append(dst, `,"next_batch":`...), searchToken{answer.Next, key, id}.String())
			}
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// withStates writes an answer followed by the states of its rooms, which may be large.
func (s *Server) withStates(w io.Writer, r *matrixhttp.Request, answer []byte, found *roomapi.SearchResponse) error {
	out := bufio.NewWriterSize(w, 32<<10)
	if _, err := out.Write(append(answer, `,"state":{`...)); err != nil {
		return err
	}
	var rooms []string
	for _, result := range found.Results {
		if slices.Contains(rooms, result.RoomID) {
			continue
		}
		if _, err := out.Write(append(pdu.AppendString(comma(nil, len(rooms)), result.RoomID), ':')); err != nil {
			return err
		}
		rooms = append(rooms, result.RoomID)
		if err := s.writeState(r.Context(), out, s.render(r, result.RoomID)); err != nil {
			return err
		}
	}
	if _, err := out.WriteString(`}}}}`); err != nil {
		return err
	}
	return out.Flush()
}

// writeState writes the state of a room as an array: none to those who may not see it.
func (s *Server) writeState(ctx context.Context, out *bufio.Writer, render roomapi.Render) error {
	if err := out.WriteByte('['); err != nil {
		return err
	}
	n := 0
	var buf []byte
	err := roomapi.ReadEvents(ctx, s.bus, &roomapi.StateRequest{RoomID: render.RoomID, UserID: render.UserID}, func(e *roomapi.Event) error {
		buf = e.AppendJSON(comma(buf[:0], n), render)
		n++
		_, err := out.Write(buf)
		return err
	})
	if err != nil && !(n == 0 && errors.Is(err, merr.Forbidden(""))) {
		return err
	}
	return out.WriteByte(']')
}
