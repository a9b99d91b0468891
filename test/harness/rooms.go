package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Event is an event as clients see it.
type Event struct {
	EventID        string          `json:"event_id"`
	Type           string          `json:"type"`
	Sender         string          `json:"sender"`
	RoomID         string          `json:"room_id"`
	StateKey       *string         `json:"state_key"`
	OriginServerTS int64           `json:"origin_server_ts"`
	Content        json.RawMessage `json:"content"`
	Unsigned       json.RawMessage `json:"unsigned"`
}

// Page is an answer of /messages. End is empty when there is no more.
type Page struct {
	Start string  `json:"start"`
	End   string  `json:"end"`
	Chunk []Event `json:"chunk"`
	State []Event `json:"state"`
}

// CreateRoom makes a room; body is that of POST /createRoom.
func (c *Client) CreateRoom(body map[string]any) (roomID string, err error) {
	if body == nil {
		body = map[string]any{}
	}
	var out struct {
		RoomID string `json:"room_id"`
	}
	_, e := c.Do(http.MethodPost, Path("createRoom"), body, &out)
	return out.RoomID, orNil(e)
}

// Join joins a room by id or alias.
func (c *Client) Join(room string) error {
	_, err := c.Do(http.MethodPost, Path("join", room), struct{}{}, nil)
	return orNil(err)
}

// Leave leaves a room.
func (c *Client) Leave(room string) error {
	_, err := c.Do(http.MethodPost, Path("rooms", room, "leave"), struct{}{}, nil)
	return orNil(err)
}

// Invite invites a user.
func (c *Client) Invite(room, user string) error {
	_, err := c.Do(http.MethodPost, Path("rooms", room, "invite"), map[string]string{"user_id": user}, nil)
	return orNil(err)
}

// Send sends an event under a transaction id.
func (c *Client) Send(room, eventType, txn string, content any) (eventID string, err error) {
	return c.event(Path("rooms", room, "send", eventType, txn), content)
}

// SendText sends an m.text message.
func (c *Client) SendText(room, txn, text string) (eventID string, err error) {
	return c.Send(room, "m.room.message", txn, map[string]string{"msgtype": "m.text", "body": text})
}

// SetState sends a state event.
func (c *Client) SetState(room, eventType, stateKey string, content any) (eventID string, err error) {
	return c.event(Path("rooms", room, "state", eventType, stateKey), content)
}

func (c *Client) event(path string, content any) (string, error) {
	var out struct {
		EventID string `json:"event_id"`
	}
	_, err := c.Do(http.MethodPut, path, content, &out)
	if err == nil && out.EventID == "" {
		return "", fmt.Errorf("PUT %s: 200 without an event_id", path)
	}
	return out.EventID, orNil(err)
}

// State returns all state events of a room.
func (c *Client) State(room string) (events []Event, err error) {
	_, e := c.Do(http.MethodGet, Path("rooms", room, "state"), nil, &events)
	return events, orNil(e)
}

// Messages reads a page of a room: dir is "b" or "f", from and to may be empty.
func (c *Client) Messages(room, dir, from, to string, limit int) (*Page, error) {
	query := url.Values{"dir": {dir}, "limit": {fmt.Sprint(limit)}}
	if from != "" {
		query.Set("from", from)
	}
	if to != "" {
		query.Set("to", to)
	}
	var page Page
	if _, err := c.Do(http.MethodGet, Path("rooms", room, "messages")+"?"+query.Encode(), nil, &page); err != nil {
		return nil, err
	}
	return &page, nil
}

// Receipt marks an event as read (m.read).
func (c *Client) Receipt(room, event string) error {
	_, err := c.Do(http.MethodPost, Path("rooms", room, "receipt", "m.read", event), struct{}{}, nil)
	return orNil(err)
}

// SetAccountData sets global account data.
func (c *Client) SetAccountData(kind string, content any) error {
	_, err := c.Do(http.MethodPut, Path("user", c.UserID, "account_data", kind), content, nil)
	return orNil(err)
}

// AccountData reads global account data.
func (c *Client) AccountData(kind string, out any) error {
	_, err := c.Do(http.MethodGet, Path("user", c.UserID, "account_data", kind), nil, out)
	return orNil(err)
}
