package push

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of a pusher.
const (
	maxPushKey = 512 // bytes
	maxAppID   = 64  // characters
	maxText    = 512 // bytes
	maxData    = 16 << 10
)

const (
	kindHTTP    = "http"
	notifyPath  = "/_matrix/push/v1/notify"
	eventIDOnly = "event_id_only"
)

// pusher is a pusher of kind http. It is immutable.
type pusher struct {
	id                             int64
	userID, device, appID, pushKey string
	appName, deviceName            string
	profileTag, lang               string
	data                           json.RawMessage // canonical
	url                            *url.URL
	since                          int64 // position of the room log
	ts                             int64 // milliseconds
}

// view is a pusher as clients see it.
type view struct {
	PushKey    string          `json:"pushkey"`
	Kind       string          `json:"kind"`
	AppID      string          `json:"app_id"`
	AppName    string          `json:"app_display_name"`
	DeviceName string          `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag,omitempty"`
	Lang       string          `json:"lang"`
	Data       json.RawMessage `json:"data"`
}

func (p *pusher) view() view {
	return view{p.pushKey, kindHTTP, p.appID, p.appName, p.deviceName, p.profileTag, p.lang, p.data}
}

// short reports whether the gateway is to be told ids only.
func (p *pusher) short() bool {
	format, _ := pdu.GetString(p.data, "format")
	return format == eventIDOnly
}

// setRequest is the body of POST /pushers/set.
type setRequest struct {
	PushKey    *string         `json:"pushkey"`
	Kind       json.RawMessage `json:"kind"`
	AppID      *string         `json:"app_id"`
	AppName    *string         `json:"app_display_name"`
	DeviceName *string         `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag"`
	Lang       *string         `json:"lang"`
	Data       json.RawMessage `json:"data"`
	Append     bool            `json:"append"`
}

// check reads a request; remove says that its pusher is to be deleted.
func (s *Server) check(userID, device string, r *setRequest) (p *pusher, remove bool, err error) {
	if err := dataTypes(r.Data); err != nil {
		return nil, false, err
	}
	if err := missing(map[string]bool{"app_id": r.AppID == nil, "pushkey": r.PushKey == nil, "kind": len(r.Kind) == 0}); err != nil {
		return nil, false, err
	}
	if n := len(*r.PushKey); n == 0 || n > maxPushKey {
		return nil, false, merr.InvalidParam("pushkey must have 1 to %d bytes", maxPushKey)
	}
	if n := utf8.RuneCountInString(*r.AppID); n == 0 || n > maxAppID {
		return nil, false, merr.InvalidParam("app_id must have 1 to %d characters", maxAppID)
	}
	p = &pusher{userID: userID, device: device, appID: *r.AppID, pushKey: *r.PushKey, profileTag: r.ProfileTag, data: r.Data}
	if string(r.Kind) == "null" {
		return p, true, plain(p.appID, p.pushKey)
	}
	if err := missing(map[string]bool{
		"app_display_name": r.AppName == nil, "device_display_name": r.DeviceName == nil, "lang": r.Lang == nil, "data": len(r.Data) == 0,
	}); err != nil {
		return nil, false, err
	}
	p.appName, p.deviceName, p.lang = *r.AppName, *r.DeviceName, *r.Lang
	if kind, _ := pdu.String(r.Kind); kind != kindHTTP {
		return nil, false, merr.InvalidParam("This server has no pushers of that kind, only of the kind http")
	}
	for _, text := range []string{p.appName, p.deviceName, p.lang, p.profileTag} {
		if len(text) > maxText {
			return nil, false, merr.InvalidParam("Names and tags of a pusher have at most %d bytes", maxText)
		}
	}
	if err := plain(p.appID, p.pushKey, p.appName, p.deviceName, p.lang, p.profileTag); err != nil {
		return nil, false, err
	}
	if pdu.Kind(r.Data) != '{' || len(r.Data) > maxData {
		return nil, false, merr.InvalidParam("data must be an object of at most %d bytes", maxData)
	}
	p.url, err = s.gateway(r.Data)
	return p, false, err
}

// dataTypes refuses data of the wrong types: 400 M_BAD_JSON.
func dataTypes(data json.RawMessage) error {
	if len(data) == 0 || string(data) == "null" {
		return nil
	}
	if pdu.Kind(data) != '{' {
		return merr.BadJSON("data must be an object")
	}
	for _, key := range []string{"url", "format"} {
		if value, ok := pdu.Get(data, key); ok && pdu.Kind(value) != '"' {
			return merr.BadJSON("data.%s must be a string", key)
		}
	}
	return nil
}

func missing(absent map[string]bool) error {
	var names []string
	for _, name := range []string{"app_id", "pushkey", "kind", "app_display_name", "device_display_name", "lang", "data"} {
		if absent[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return merr.New(http.StatusBadRequest, "M_MISSING_PARAM", "Missing parameters: %s", strings.Join(names, ", "))
}

func plain(texts ...string) error {
	for _, text := range texts {
		if strings.IndexByte(text, 0) >= 0 {
			return merr.InvalidParam("A pusher has no NUL in its texts")
		}
	}
	return nil
}

// gateway reads the URL of a gateway.
func (s *Server) gateway(data json.RawMessage) (*url.URL, error) {
	text, ok := pdu.GetString(data, "url")
	if !ok {
		return nil, merr.MissingParam("data.url")
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Path != notifyPath || u.Fragment != "" {
		return nil, merr.InvalidParam("data.url must be a URL with the path %s", notifyPath)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !s.allowPlain) {
		return nil, merr.InvalidParam("data.url must begin with https")
	}
	return u, nil
}

// users knows who has pushers.
type users struct {
	mu   sync.RWMutex
	byID map[int64]*pusher
	of   map[string][]*pusher // by user
	// badge is what a gateway was told last, by pusher; absent: nothing or 0.
	badge map[int64]int
}

func newUsers() *users {
	return &users{byID: map[int64]*pusher{}, of: map[string][]*pusher{}, badge: map[int64]int{}}
}

func (u *users) put(p *pusher) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(p.id)
	u.byID[p.id] = p
	u.of[p.userID] = append(slices.Clip(u.of[p.userID]), p)
}

func (u *users) drop(ids ...int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		u.remove(id)
		delete(u.badge, id)
	}
}

// remove takes a pusher away; the lock is held. Lists are never changed in place.
func (u *users) remove(id int64) {
	p := u.byID[id]
	if p == nil {
		return
	}
	delete(u.byID, id)
	var rest []*pusher
	for _, other := range u.of[p.userID] {
		if other.id != id {
			rest = append(rest, other)
		}
	}
	if u.of[p.userID] = rest; rest == nil {
		delete(u.of, p.userID)
	}
}

func (u *users) get(id int64) *pusher {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.byID[id]
}

// pushers returns those of a user, which nobody changes.
func (u *users) pushers(userID string) []*pusher {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.of[userID]
}

func (u *users) none() bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.byID) == 0
}

func (u *users) setBadge(id int64, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n == 0 {
		delete(u.badge, id)
	} else if u.byID[id] != nil {
		u.badge[id] = n
	}
}

func (u *users) badgeOf(id int64) int {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.badge[id]
}
