package clientapi

import (
	"context"
	"io"
	"time"

	"hearth/internal/deep"
	"hearth/internal/matrixhttp"
	"hearth/syncapi/viewapi"
)

// maxSyncTimeout is how long a client may let /sync wait.
const maxSyncTimeout = 5 * time.Minute

// sync is GET /sync. The answer is syncapi's, copied as it comes.
func (s *Server) sync(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	req := &viewapi.SyncRequest{
		UserID: r.Identity.UserID, DeviceID: r.Identity.DeviceID,
		Since:         query.String("since"),
		TimeoutMS:     query.Int("timeout", 0, 0, maxSyncTimeout.Milliseconds()),
		FullState:     query.Bool("full_state"),
		SetPresence:   query.Enum("set_presence", "online", "offline", "online", "unavailable"),
		UseStateAfter: query.Bool("use_state_after"),
	}
	if !req.UseStateAfter && query.Bool("org.matrix.msc4222.use_state_after") {
		req.UseStateAfter, req.UnstableStateAfter = true, true
	}
	filter := query.String("filter")
	if err := query.Err(); err != nil {
		return nil, err
	}
	err := deep.Call(func() (err error) { // the stack of a long-poll stays small
		req.Filter, err = s.resolveFilter(r.Context(), req.UserID, filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.presence.syncing(r.Context(), r.Identity, req.SetPresence, time.Duration(req.TimeoutMS)*time.Millisecond)
	return matrixhttp.Stream(func(w io.Writer) error {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)() // a stopping process does not wait for long-polls
		w = s.sending.held(ctx, r, w)
		return viewapi.Sync.Do(ctx, s.bus, req, func(chunk []byte) error {
			_, err := w.Write(chunk)
			return err
		})
	}), nil
}
