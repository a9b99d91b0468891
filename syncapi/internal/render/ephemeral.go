package render

import (
	"cmp"
	"slices"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// TypingEvent is the m.typing event that Typing appends.
func TypingEvent(t *roomapi.Typing, ignored map[string]bool) []byte {
	return Typing(nil, t, ignored)
}

// AccountData appends a piece of account data as an event after those before it.
func AccountData(dst []byte, d *userapi.AccountData) []byte {
	dst = append(Comma(dst), `{"type":`...)
	dst = String(dst, d.Type)
	dst = append(dst, `,"content":`...)
	dst = append(dst, d.Content...)
	return append(dst, '}')
}

// Typing appends an m.typing event ("Typing Notifications") without the users who
// are ignored.
func Typing(dst []byte, t *roomapi.Typing, ignored map[string]bool) []byte {
	dst = append(Comma(dst), `{"type":"m.typing","content":{"user_ids":[`...)
	for _, id := range t.UserIDs {
		if !ignored[id] {
			dst = String(Comma(dst), id)
		}
	}
	return append(dst, `]}}`...)
}

// Receipts appends the receipts that user wants to see as m.receipt events with
// commas between: one event a thread, because a user may have receipts of several
// threads at one event ("Receipts", "Threaded read receipts").
func Receipts(dst []byte, receipts []*roomapi.Receipt, user string, ignored map[string]bool) []byte {
	list := visible(receipts, user, ignored)
	slices.SortFunc(list, func(a, b *roomapi.Receipt) int {
		return cmp.Or(cmp.Compare(a.ThreadID, b.ThreadID), cmp.Compare(a.EventID, b.EventID),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Pos, b.Pos))
	})
	for len(list) > 0 {
		n := run(list, func(r *roomapi.Receipt) string { return r.ThreadID })
		dst = append(Comma(dst), `{"type":"m.receipt","content":{`...)
		dst = appendByEvent(dst, list[:n])
		dst = append(dst, `}}`...)
		list = list[n:]
	}
	return dst
}

// visible are the receipts that are neither somebody else's secret nor of somebody
// who is ignored.
func visible(receipts []*roomapi.Receipt, user string, ignored map[string]bool) []*roomapi.Receipt {
	list := make([]*roomapi.Receipt, 0, len(receipts))
	for _, r := range receipts {
		if (r.Kind != core.PrivateReceipt || r.UserID == user) && !ignored[r.UserID] {
			list = append(list, r)
		}
	}
	return list
}

// ReceiptEvent appends the receipts that user wants to see as one m.receipt event;
// nothing if there are none. Of a user's receipts at one event the newest counts,
// whatever its thread.
func ReceiptEvent(dst []byte, receipts []*roomapi.Receipt, user string, ignored map[string]bool) []byte {
	list := visible(receipts, user, ignored)
	if len(list) == 0 {
		return dst
	}
	slices.SortFunc(list, func(a, b *roomapi.Receipt) int {
		return cmp.Or(cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Pos, b.Pos))
	})
	dst = append(dst, `{"type":"m.receipt","content":{`...)
	return append(appendByEvent(dst, list), `}}`...)
}

// appendByEvent appends sorted receipts, grouped by event and kind.
func appendByEvent(dst []byte, list []*roomapi.Receipt) []byte {
	for len(list) > 0 {
		n := run(list, func(r *roomapi.Receipt) string { return r.EventID })
		event := list[:n]
		list = list[n:]
		dst = append(String(Comma(dst), event[0].EventID), `:{`...)
		for len(event) > 0 {
			n := run(event, func(r *roomapi.Receipt) string { return r.Kind })
			dst = append(String(Comma(dst), event[0].Kind), `:{`...)
			dst = appendReaders(dst, event[:n])
			dst = append(dst, '}')
			event = event[n:]
		}
		dst = append(dst, '}')
	}
	return dst
}

func appendReaders(dst []byte, list []*roomapi.Receipt) []byte {
	for i, r := range list {
		if i+1 < len(list) && list[i+1].UserID == r.UserID {
			continue // a newer one follows
		}
		dst = append(String(Comma(dst), r.UserID), `:{"ts":`...)
		dst = strconv.AppendInt(dst, r.TS, 10)
		if r.ThreadID != "" {
			dst = append(dst, `,"thread_id":`...)
			dst = String(dst, r.ThreadID)
		}
		dst = append(dst, '}')
	}
	return dst
}

// run returns how many elements at the start of list have the same key.
func run(list []*roomapi.Receipt, key func(*roomapi.Receipt) string) int {
	n := 1
	for n < len(list) && key(list[n]) == key(list[0]) {
		n++
	}
	return n
}
