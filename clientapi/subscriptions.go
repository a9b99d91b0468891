package clientapi

import (
	"encoding/json"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

const (
	subscriptionPath  = unstable + "/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription"
	subscriptionsPath = unstable + "/io.element.msc4308/thread_subscriptions"
)

// relation returns what an event says of another one.
func relation(e *roomapi.Event) (relType, target string) {
	var content struct {
		Relates struct {
			Type   string `json:"rel_type"`
			Target string `json:"event_id"`
		} `json:"m.relates_to"`
	}
	if json.Unmarshal(e.Content(), &content) != nil {
		return "", ""
	}
	return content.Relates.Type, content.Relates.Target
}

// threadEvent returns an event of the room in the path, 404 M_NOT_FOUND if the user may not see it.
func (s *Server) threadEvent(r *matrixhttp.Request, room, event string) (*roomapi.Event, error) {
	e, err := roomapi.GetEvent.Do(r.Context(), s.bus, &roomapi.EventRequest{RoomID: room, UserID: r.Identity.UserID, EventID: event})
	if m := merr.From(err); m != nil && m.Status == http.StatusForbidden {
		return nil, merr.NotFound("Thread not found")
	}
	return e, err
}

// thread reads which thread the path names. An event without answers is one too: a client
// subscribes while it sends the first. One that is an answer itself is none.
func (s *Server) thread(r *matrixhttp.Request) (t userapi.ThreadRequest, err error) {
	t = userapi.ThreadRequest{UserID: r.Identity.UserID, ThreadID: r.Param("eventId")}
	if t.RoomID, err = roomID(r); err != nil {
		return t, err
	}
	if !plainText(t.ThreadID) {
		return t, merr.NotFound("Thread not found")
	}
	root, err := s.threadEvent(r, t.RoomID, t.ThreadID)
	if err != nil {
		return t, err
	}
	if rel, _ := relation(root); rel == "m.thread" {
		return t, merr.NotFound("The event is not the root of a thread")
	}
	return t, nil
}

// subscribe is PUT /rooms/{roomId}/thread/{eventId}/subscription (MSC4306).
func (s *Server) subscribe(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[struct {
		Automatic *string `json:"automatic"`
	}](r)
	if err != nil {
		return nil, err
	}
	t, err := s.thread(r)
	if err != nil {
		return nil, err
	}
	req := &userapi.SubscribeRequest{ThreadRequest: t}
	if body.Automatic != nil {
		if !plainText(*body.Automatic) {
			return nil, merr.InvalidParam("automatic must be an event id")
		}
		cause, err := s.threadEvent(r, t.RoomID, *body.Automatic)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		if err != nil || !inThread(cause, t.ThreadID) {
			return nil, merr.New(http.StatusBadRequest, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", "The event is not in the thread")
		}
		req.Automatic, req.Cause = true, cause.Pos
	}
	_, err = userapi.Subscribe.Do(r.Context(), s.bus, req)
	return nil, err
}

func inThread(e *roomapi.Event, root string) bool {
	rel, target := relation(e)
	return rel == "m.thread" && target == root
}

func isNotFound(err error) bool {
	m := merr.From(err)
	return m != nil && m.Status == http.StatusNotFound
}

// unsubscribe is DELETE /rooms/{roomId}/thread/{eventId}/subscription.
func (s *Server) unsubscribe(r *matrixhttp.Request) (any, error) {
	t, err := s.thread(r)
	if err != nil {
		return nil, err
	}
	head, err := bus.Head(r.Context(), s.bus, roomapi.Log)
	if err != nil {
		return nil, err
	}
	_, err = userapi.Unsubscribe.Do(r.Context(), s.bus, &userapi.UnsubscribeRequest{ThreadRequest: t, Seen: head})
	return nil, err
}

// subscription is GET /rooms/{roomId}/thread/{eventId}/subscription.
func (s *Server) subscription(r *matrixhttp.Request) (any, error) {
	t, err := s.thread(r)
	if err != nil {
		return nil, err
	}
	have, err := userapi.GetSubscription.Do(r.Context(), s.bus, &t)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"automatic": have.Automatic}, nil
}

// subscriptions is GET /thread_subscriptions (MSC4308): what a sync has left out, the latest
// first. A token of a sync knows where it ends; to does not make that earlier or later.
func (s *Server) subscriptions(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	dir, from, to := query.String("dir"), query.String("from"), query.String("to")
	req := &userapi.ChangedSubscriptionsRequest{UserID: r.Identity.UserID, Limit: int(query.Int("limit", 100, 1, userapi.MaxThreadPage))}
	if err := query.Err(); err != nil {
		return nil, err
	}
	switch dir {
	case "b":
	case "":
		return nil, merr.MissingParam("dir")
	default:
		return nil, merr.InvalidParam("dir must be b")
	}
	if to != "" {
		pos, err := viewapi.ParsePos(to)
		if err != nil {
			return nil, merr.InvalidParam("Invalid to")
		}
		req.After = pos.Token.User
	}
	if from != "" {
		var err error
		if req.After, req.UpTo, err = userapi.ParseRest(from); err != nil {
			return nil, err
		}
		if req.UpTo == 0 { // nothing is before the first change
			return userapi.ThreadsBody{}, nil
		}
	}
	page, err := userapi.ChangedSubscriptions.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	answer := page.Body()
	answer.End = page.Rest(req.After)
	return answer, nil
}
