package clientapi

import (
	"context"
	"io"
	"time"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/syncapi/viewapi"
)

// slidingSync is POST /v4/sync, sliding sync in the form of the accepted proposal (MSC4186).
func (s *Server) slidingSync(r *matrixhttp.Request) (any, error) { return s.slide(r, true) }

// unstableSlidingSync is POST /unstable/org.matrix.simplified_msc3575/sync, the form
// that clients speak today.
func (s *Server) unstableSlidingSync(r *matrixhttp.Request) (any, error) { return s.slide(r, false) }

func (s *Server) slide(r *matrixhttp.Request, stable bool) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	req := &viewapi.SlidingRequest{UserID: r.Identity.UserID, DeviceID: r.Identity.DeviceID, Stable: stable, Body: body}
	if stable {
		err = placeFromBody(req)
	} else {
		err = placeFromQuery(r, req)
	}
	if err != nil {
		return nil, err
	}
	s.presence.syncing(r.Context(), r.Identity, req.SetPresence, time.Duration(req.TimeoutMS)*time.Millisecond)
	return matrixhttp.Stream(func(w io.Writer) error {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)() // a stopping process does not wait for long-polls
		w = s.sending.held(ctx, r, w)
		return viewapi.DoSliding(ctx, s.bus, req, func(chunk []byte) error {
			_, err := w.Write(chunk)
			return err
		})
	}), nil
}

// placeFromQuery reads where the client is, as the unstable form says it.
func placeFromQuery(r *matrixhttp.Request, req *viewapi.SlidingRequest) error {
	query := r.Query()
	req.Pos = query.String("pos")
	req.TimeoutMS = query.Int("timeout", 0, 0, maxSyncTimeout.Milliseconds())
	req.SetPresence = query.Enum("set_presence", "online", "offline", "online", "unavailable")
	return query.Err()
}

// placeFromBody reads where the client is, as the accepted form says it.
func placeFromBody(req *viewapi.SlidingRequest) error {
	var place struct {
		Pos         string  `json:"pos"`
		Timeout     int64   `json:"timeout"`
		SetPresence *string `json:"set_presence"`
	}
	if err := matrixhttp.Unmarshal(req.Body, &place); err != nil {
		return err
	}
	req.Pos, req.TimeoutMS, req.SetPresence = place.Pos, max(0, min(place.Timeout, maxSyncTimeout.Milliseconds())), "online"
	if p := place.SetPresence; p != nil {
		if *p != "offline" && *p != "online" && *p != "unavailable" {
			return merr.InvalidParam("Unknown set_presence")
		}
		req.SetPresence = *p
	}
	return nil
}
