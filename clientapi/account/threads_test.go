package account

import (
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
)

func TestThreadSubscriptions(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice")
		thread := func(root string) userapi.ThreadRequest {
			return userapi.ThreadRequest{UserID: "@alice:test", RoomID: "!r:test", ThreadID: root}
		}
		subscribe := func(root string, cause int64) userapi.SubscribeRequest {
			return userapi.SubscribeRequest{ThreadRequest: thread(root), Automatic: cause > 0, Cause: cause}
		}
		changed := func(after, upTo int64, limit int) string {
			page := call(h, userapi.ChangedSubscriptions, userapi.ChangedSubscriptionsRequest{
				UserID: "@alice:test", After: after, UpTo: upTo, Limit: limit,
			})
			var list []string
			for _, t := range page.Threads {
				list = append(list, fmt.Sprint(t.Pos, t.ThreadID, map[bool]string{true: "+"}[t.Subscribed], map[bool]string{true: "a"}[t.Automatic]))
			}
			return strings.TrimSpace(strings.Join(list, " ") + " " + page.Rest(after))
		}
		same := func(what, got, want string) {
			h.t.Helper()
			if got != want {
				h.t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		const conflict = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
		refused(h, "M_NOT_FOUND", userapi.GetSubscription, thread("$a"))
		call(h, userapi.Unsubscribe, userapi.UnsubscribeRequest{ThreadRequest: thread("$a"), Seen: 9})
		same("never subscribed", changed(0, 0, 10), "")
		call(h, userapi.Subscribe, subscribe("$a", 5)) // 1
		call(h, userapi.Subscribe, subscribe("$a", 6)) // changes nothing
		same("automatic", changed(0, 0, 10), "1$a+a")
		call(h, userapi.Subscribe, subscribe("$a", 0)) // 2
		call(h, userapi.Subscribe, subscribe("$a", 7)) // stays as made by hand
		same("by hand", changed(0, 0, 10), "2$a+")
		if got := call(h, userapi.GetSubscription, thread("$a")); got.Automatic || !got.Subscribed {
			h.t.Errorf("%+v", got)
		}
		call(h, userapi.Unsubscribe, userapi.UnsubscribeRequest{ThreadRequest: thread("$a"), Seen: 10}) // 3
		refused(h, "M_NOT_FOUND", userapi.GetSubscription, thread("$a"))
		refused(h, conflict, userapi.Subscribe, subscribe("$a", 10))
		call(h, userapi.Unsubscribe, userapi.UnsubscribeRequest{ThreadRequest: thread("$a"), Seen: 12})
		refused(h, conflict, userapi.Subscribe, subscribe("$a", 12))
		same("ended", changed(0, 0, 10), "3$a")
		call(h, userapi.Subscribe, subscribe("$a", 13)) // 4
		call(h, userapi.Subscribe, subscribe("$b", 1))  // 5
		call(h, userapi.Subscribe, subscribe("$c", 0))  // 6
		same("a page", changed(2, 0, 2), "6$c+ 5$b+a t5_2")
		after, upTo, err := userapi.ParseRest("t5_2")
		if err != nil {
			h.t.Fatal(err)
		}
		same("the rest", changed(after, upTo, 2), "4$a+a")
		same("as it was", changed(0, 5, 9), "5$b+a 4$a+a")
		refused(h, "M_INVALID_PARAM", userapi.Subscribe, subscribe("", 0))
		refused(h, "M_INVALID_PARAM", userapi.ChangedSubscriptions, userapi.ChangedSubscriptionsRequest{UserID: "@alice:test"})
		refused(h, "M_NOT_FOUND", userapi.Subscribe, userapi.SubscribeRequest{
			ThreadRequest: userapi.ThreadRequest{UserID: "@nobody:test", RoomID: "!r:test", ThreadID: "$a"},
		})

		entries, head, err := h.users.ReadLog(h.ctx, 0, 10, h.userID)
		if err != nil || head != 6 || len(entries) != 6 {
			h.t.Fatalf("%v %d %v", entries, head, err)
		}
		for i, e := range entries {
			kind := userapi.KindThread
			if i < 3 { // said again later
				kind = 0
			}
			if e.Pos != int64(i)+1 || e.Entry.Kind != kind || kind != 0 && (e.Entry.Thread.Pos != e.Pos || e.Entry.UserID != "@alice:test") {
				h.t.Errorf("entry %d: %+v", i+1, e.Entry)
			}
		}
		if err := h.users.Subscribe(h.ctx, "alice", &userapi.SubscribeRequest{ThreadRequest: thread("$d")}, 3); err == nil {
			h.t.Error("there is no limit")
		}
		call(h, userapi.Deactivate, userapi.DeactivateRequest{UserID: "@alice:test", Erase: true})
		same("erased", changed(0, 0, 10), "")
	})
}

func TestThreadTokens(t *testing.T) {
	for _, bad := range []string{"", "t", "t5", "5_2", "t2_2", "t2_5", "t5_-1", "t5_2_1", "t_", "tx!_1"} {
		if after, upTo, err := userapi.ParseRest(bad); err == nil {
			t.Errorf("%q: %d %d", bad, after, upTo)
		}
	}
}
