package sliding

import (
	"context"
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// threadsName is the name of the extension in requests and answers.
const threadsName = "io.element.msc4308.thread_subscriptions"

// defaultThreads is the number of changes for which a client asks that says nothing.
const defaultThreads = 100

// threads asks for changes of thread subscriptions (MSC4308).
type threads struct {
	Enabled bool   `json:"enabled"`
	Limit   *int64 `json:"limit"`
}

func (t *threads) limit() (int, error) {
	switch {
	case t.Limit == nil:
		return defaultThreads, nil
	case *t.Limit < 1:
		return 0, merr.InvalidParam("The limit of thread subscriptions must be positive")
	}
	return int(min(*t.Limit, userapi.MaxThreadPage)), nil
}

// threads writes the latest changes of subscriptions; all if the client has not asked
// before: ends too, because it may have kept subscriptions of an earlier connection.
func (r *round) threads(ctx context.Context) error {
	ext, now := &r.request.ext.Threads, r.view.Now.User
	if !ext.Enabled {
		return nil
	}
	limit, err := ext.limit()
	if err != nil {
		return err
	}
	after := int64(0)
	if r.base.ext.threads {
		after = r.base.since.User
	}
	if min(now, r.view.ThreadsPos) <= after {
		return nil
	}
	page, err := r.s.engine.Source().Subscriptions(ctx, &userapi.ChangedSubscriptionsRequest{
		UserID: r.req.UserID, After: after, UpTo: now, Limit: limit,
	})
	if err != nil || len(page.Threads) == 0 {
		return err
	}
	answer := page.Body()
	answer.PrevBatch = page.Rest(after)
	body, err := json.Marshal(answer)
	if err != nil {
		return merr.Internal(err)
	}
	return r.out.extension(threadsName, body)
}
