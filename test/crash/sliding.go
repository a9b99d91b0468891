package crash

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hearth/test/harness"
)

// slidingPath is simplified sliding sync in the form that clients speak.
const slidingPath = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

// slidingFilter stands for a reader that uses sliding sync.
const slidingFilter = "sliding"

// slidingBody asks for all rooms as a client does that wants to know everything.
var slidingBody = map[string]any{
	"lists": map[string]any{"all": map[string]any{
		"ranges": [][]int{{0, 99}}, "timeline_limit": 10, "required_state": [][]string{{"*", "*"}},
	}},
	"extensions": map[string]any{"account_data": map[string]bool{"enabled": true}, "receipts": map[string]bool{"enabled": true}},
}

// slidingAnswer is what is looked at of an answer.
type slidingAnswer struct {
	Pos   string `json:"pos"`
	Rooms map[string]struct {
		harness.Timeline                 // but for its events
		Initial          bool            `json:"initial"`
		Events           []harness.Event `json:"timeline"`
		State            []harness.Event `json:"required_state"`
	} `json:"rooms"`
	Extensions struct {
		AccountData struct {
			Global []harness.Event `json:"global"`
		} `json:"account_data"`
		Receipts struct {
			Rooms map[string]harness.Event `json:"rooms"`
		} `json:"receipts"`
	} `json:"extensions"`
}

// slide makes one round of sliding sync. A server that has been killed has forgotten the
// connection; then it begins anew, as clients do, with all that is kept.
func (r *reader) slide(ctx context.Context, wait time.Duration) (fresh *view, news bool, err error) {
	var answer slidingAnswer
	since := r.kept.since
	ask := func() error {
		query := url.Values{"timeout": {strconv.FormatInt(wait.Milliseconds(), 10)}}
		if since != "" {
			query.Set("pos", since)
		}
		answer = slidingAnswer{}
		_, err := r.client.Do(http.MethodPost, slidingPath+"?"+query.Encode(), slidingBody, &answer)
		var e *harness.MatrixError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &e) && e.Code == "M_UNKNOWN_POS" && since != "":
			since = ""
			r.mu.Lock()
			r.anew++
			r.mu.Unlock()
		}
		return err
	}
	err = r.record.insist(ctx, r.name+" syncs", func() error {
		begun := since != ""
		err := ask()
		if err != nil && begun && since == "" {
			err = ask()
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	fresh, err = r.slid(ctx, &answer)
	if err != nil {
		return nil, false, err
	}
	return fresh, len(answer.Rooms) > 0 || fresh.data != "" && fresh.data != r.kept.data, nil
}

// slid works out what an answer adds to what is kept. State is that of now, so what the
// timeline has of it does not count.
func (r *reader) slid(ctx context.Context, answer *slidingAnswer) (*view, error) {
	fresh := newView()
	fresh.since = answer.Pos
	for _, e := range answer.Extensions.AccountData.Global {
		if e.Type == dataType {
			fresh.data = txnOf(e)
		}
	}
	for room, told := range answer.Rooms {
		events := told.Events
		if told.Initial {
			events = r.unknown(told.Events)
		}
		// Of a room that is told anew the rest may be known.
		if told.Limited && len(events) == len(told.Events) {
			gap, err := r.fillKnown(ctx, room, told.PrevBatch)
			if err != nil {
				return nil, err
			}
			events = append(gap, events...)
		}
		state := map[string]string{}
		for _, e := range told.State {
			if e.StateKey != nil {
				state[e.Type+" "+*e.StateKey] = e.EventID
			}
		}
		fresh.rooms[room], fresh.state[room] = brief(events), state
	}
	for room, e := range answer.Extensions.Receipts.Rooms {
		fresh.receipts[room] = receipts([]harness.Event{e})
		if _, ok := fresh.rooms[room]; !ok {
			fresh.rooms[room], fresh.state[room] = nil, nil
		}
	}
	return fresh, nil
}

// unknown returns the events after the last one that is known.
func (r *reader) unknown(events []harness.Event) []harness.Event {
	for i := len(events) - 1; i >= 0; i-- {
		if r.seen[events[i].EventID] { // written by this goroutine only
			return events[i+1:]
		}
	}
	return events
}

// fillKnown reads the events between the last one that is known, or the beginning of the
// room, and prevBatch, oldest first.
func (r *reader) fillKnown(ctx context.Context, room, prevBatch string) ([]harness.Event, error) {
	r.mu.Lock()
	r.gaps++
	r.mu.Unlock()
	until := func(e harness.Event) bool { return r.seen[e.EventID] }
	return walk{record: r.record, client: r.client, room: room, dir: "b", from: prevBatch, limit: 1 + r.rng.IntN(100), until: until}.events(ctx)
}
