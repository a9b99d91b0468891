package outbound

import (
	"encoding/json"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// maxFleeting bounds the EDUs that wait for one server and may be lost.
const maxFleeting = 500

// fleeting are EDUs that may be lost: typing and presence, and receipts, which are put
// together when they are sent.
type fleeting struct {
	edus     []fleetingEDU
	receipts map[receiptKey]roomapi.Receipt
	order    []receiptKey
}

// fleetingEDU is one that takes the place of an older one with its key.
type fleetingEDU struct {
	key  string
	json json.RawMessage
}

// receiptKey names a receipt; a later one takes its place.
type receiptKey struct{ room, user, thread string }

func (f *fleeting) len() int { return len(f.edus) + len(f.order) }

func (f *fleeting) clear() { *f = fleeting{} }

// add adds an EDU; the oldest is lost if there are too many.
func (f *fleeting) add(e fleetingEDU) {
	if e.key != "" {
		f.edus = slices.DeleteFunc(f.edus, func(old fleetingEDU) bool { return old.key == e.key })
	}
	if len(f.edus) == maxFleeting {
		f.edus = slices.Delete(f.edus, 0, 1)
	}
	f.edus = append(f.edus, e)
}

// receipt adds a receipt.
func (f *fleeting) receipt(room string, r *roomapi.Receipt) {
	key := receiptKey{room, r.UserID, r.ThreadID}
	if f.receipts == nil {
		f.receipts = map[receiptKey]roomapi.Receipt{}
	}
	if _, known := f.receipts[key]; !known {
		if len(f.order) == maxFleeting {
			delete(f.receipts, f.order[0])
			f.order = slices.Delete(f.order, 0, 1)
		}
		f.order = append(f.order, key)
	}
	f.receipts[key] = *r
}

// take returns at most n EDUs and forgets them. One EDU has many receipts, but of each
// user in a room only one (server-server API, "Receipts").
func (f *fleeting) take(n int) []json.RawMessage {
	var out []json.RawMessage
	for len(f.order) > 0 && len(out) < n {
		content := map[string]map[string]map[string]any{} // room → kind → user
		var rest []receiptKey
		for _, key := range f.order {
			r := f.receipts[key]
			if content[key.room] == nil {
				content[key.room] = map[string]map[string]any{r.Kind: {}}
			}
			users := content[key.room][r.Kind]
			if users == nil || users[key.user] != nil {
				rest = append(rest, key)
				continue
			}
			data := map[string]any{"ts": r.TS}
			if r.ThreadID != "" {
				data["thread_id"] = r.ThreadID
			}
			users[key.user] = map[string]any{"event_ids": []string{r.EventID}, "data": data}
			delete(f.receipts, key)
		}
		f.order = rest
		if edu, err := newEDU("m.receipt", content); err == nil {
			out = append(out, edu)
		}
	}
	k := min(len(f.edus), n-len(out))
	for _, e := range f.edus[:k] {
		out = append(out, e.json)
	}
	f.edus = slices.Delete(f.edus, 0, k)
	return out
}

// newEDU makes an EDU in canonical JSON (server-server API, "EDUs").
func newEDU(kind string, content any) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]any{"edu_type": kind, "content": content})
	if err != nil {
		return nil, err
	}
	return pdu.Canonical(body, false)
}
