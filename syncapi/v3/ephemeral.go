package v3

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// appendTyping appends an m.typing event ("Typing Notifications").
func appendTyping(dst []byte, t *roomapi.Typing) []byte {
	dst = append(comma(dst), `{"type":"m.typing","content":{"user_ids":[`...)
	for _, id := range t.UserIDs {
		dst = appendString(comma(dst), id)
	}
	return append(dst, `]}}`...)
}

// appendReceipts appends the receipts that user may see as m.receipt events with
// commas between: one event a thread, because a user may have receipts of several
// threads at one event ("Receipts", "Threaded read receipts").
func appendReceipts(dst []byte, receipts []*roomapi.Receipt, user string) []byte {
	list := make([]*roomapi.Receipt, 0, len(receipts))
	for _, r := range receipts {
		if r.Kind != core.PrivateReceipt || r.UserID == user {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *roomapi.Receipt) int {
		return cmp.Or(cmp.Compare(a.ThreadID, b.ThreadID), cmp.Compare(a.EventID, b.EventID),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Pos, b.Pos))
	})
	for len(list) > 0 {
		n := run(list, func(r *roomapi.Receipt) string { return r.ThreadID })
		dst = append(comma(dst), `{"type":"m.receipt","content":{`...)
		dst = appendThread(dst, list[:n])
		dst = append(dst, `}}`...)
		list = list[n:]
	}
	return dst
}

// appendThread appends the receipts of one thread, sorted, grouped by event and kind.
func appendThread(dst []byte, list []*roomapi.Receipt) []byte {
	for len(list) > 0 {
		n := run(list, func(r *roomapi.Receipt) string { return r.EventID })
		event := list[:n]
		list = list[n:]
		dst = append(appendString(comma(dst), event[0].EventID), `:{`...)
		for len(event) > 0 {
			n := run(event, func(r *roomapi.Receipt) string { return r.Kind })
			dst = append(appendString(comma(dst), event[0].Kind), `:{`...)
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
		dst = append(appendString(comma(dst), r.UserID), `:{"ts":`...)
		dst = strconv.AppendInt(dst, r.TS, 10)
		if r.ThreadID != "" {
			dst = append(dst, `,"thread_id":`...)
			dst = appendString(dst, r.ThreadID)
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

// receiptPage is the number of receipts that are read at a time.
const receiptPage = 1000

// receipts returns the receipts of a change, from the owner if memory has not all.
func (r *round) receipts(ctx context.Context, c *core.Change, whole bool) ([]*roomapi.Receipt, error) {
	if !whole && c.ReceiptsCovered {
		return c.Receipts, nil
	}
	req := roomapi.ReceiptsRequest{RoomID: c.RoomID, UserID: r.req.UserID, UpTo: r.now.Room, Limit: receiptPage}
	if !whole {
		req.After = r.since.Room
	}
	var list []*roomapi.Receipt
	for {
		page, err := r.s.engine.Source().Receipts(ctx, &req)
		if err != nil {
			return nil, err
		}
		for i := range page.Receipts {
			list = append(list, &page.Receipts[i])
		}
		if !page.More || len(page.Receipts) == 0 {
			return list, nil
		}
		req.After = page.Receipts[len(page.Receipts)-1].Pos
	}
}
