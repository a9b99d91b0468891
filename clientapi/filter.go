package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxCachedFilters bounds the filters that a process remembers. An id follows from
// the definition, so what is remembered cannot become wrong.
const maxCachedFilters = 2000

// maxCachedFilter is the size in bytes of a filter that is remembered.
const maxCachedFilter = 4 << 10

type filterKey struct{ userID, filterID string }

// filterShape has the types of a filter (client-server API, "Filtering").
type filterShape struct {
	EventFields []string    `json:"event_fields"`
	EventFormat string      `json:"event_format"`
	Presence    *eventShape `json:"presence"`
	AccountData *eventShape `json:"account_data"`
	Room        *struct {
		Rooms        []string    `json:"rooms"`
		NotRooms     []string    `json:"not_rooms"`
		IncludeLeave bool        `json:"include_leave"`
		Ephemeral    *eventShape `json:"ephemeral"`
		State        *eventShape `json:"state"`
		Timeline     *eventShape `json:"timeline"`
		AccountData  *eventShape `json:"account_data"`
	} `json:"room"`
}

type eventShape struct {
	Limit                   int64    `json:"limit"`
	Types                   []string `json:"types"`
	NotTypes                []string `json:"not_types"`
	Senders                 []string `json:"senders"`
	NotSenders              []string `json:"not_senders"`
	Rooms                   []string `json:"rooms"`
	NotRooms                []string `json:"not_rooms"`
	ContainsURL             *bool    `json:"contains_url"`
	LazyLoadMembers         bool     `json:"lazy_load_members"`
	IncludeRedundantMembers bool     `json:"include_redundant_members"`
	UnreadThreads           bool     `json:"unread_thread_notifications"`
	RelatedByRelTypes       []string `json:"related_by_rel_types"`
	RelatedBySenders        []string `json:"related_by_senders"`
}

// checkFilter checks the types of a filter in canonical JSON.
func checkFilter(canonical []byte) error {
	var f filterShape
	if err := matrixhttp.Unmarshal(canonical, &f); err != nil {
		return err
	}
	if f.EventFormat != "" && f.EventFormat != "client" && f.EventFormat != "federation" {
		return merr.BadJSON("event_format must be client or federation")
	}
	return nil
}

// putFilter is POST /user/{userId}/filter.
func (s *Server) putFilter(r *matrixhttp.Request) (any, error) {
	if err := self(r); err != nil {
		return nil, err
	}
	filter, err := r.Object()
	if err != nil {
		return nil, err
	}
	if err := checkFilter(filter); err != nil {
		return nil, err
	}
	answer, err := userapi.PutFilter.Do(r.Context(), s.bus, &userapi.PutFilterRequest{UserID: r.Identity.UserID, Filter: filter})
	if err != nil {
		return nil, err
	}
	return map[string]string{"filter_id": answer.FilterID}, nil
}

// filter is GET /user/{userId}/filter/{filterId}.
func (s *Server) filter(r *matrixhttp.Request) (any, error) {
	if err := self(r); err != nil {
		return nil, err
	}
	definition, err := s.storedFilter(r.Context(), r.Identity.UserID, r.Param("filterId"))
	if err != nil {
		return nil, err
	}
	return matrixhttp.Raw(definition), nil
}

func (s *Server) storedFilter(ctx context.Context, user, id string) (json.RawMessage, error) {
	if !plainText(id) {
		return nil, merr.NotFound("Filter not found")
	}
	key := filterKey{user, id}
	if definition, ok := s.filters.Get(key); ok {
		return definition, nil
	}
	answer, err := userapi.GetFilter.Do(ctx, s.bus, &userapi.FilterRequest{UserID: user, FilterID: id})
	if err != nil {
		return nil, err
	}
	if len(answer.Filter) <= maxCachedFilter {
		s.filters.Put(key, answer.Filter)
	}
	return answer.Filter, nil
}

// resolveFilter returns the definition that the filter parameter of /sync means:
// an id or the definition itself. Empty: no filter.
func (s *Server) resolveFilter(ctx context.Context, user, text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(text, "{") {
		definition, err := s.storedFilter(ctx, user, text)
		if errors.Is(err, merr.NotFound("")) {
			return nil, merr.InvalidParam("Unknown filter id")
		}
		return definition, err
	}
	canonical, err := pdu.Canonical([]byte(text), false)
	if err != nil {
		return nil, merr.InvalidParam("The filter is not a JSON object").WithCause(err)
	}
	return canonical, checkFilter(canonical)
}
