package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/peers"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/federationapi/verify"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	// maxDestinations is how many servers are tried for one call.
	maxDestinations = 20
	// tryTime bounds one attempt where others may follow.
	tryTime = 25 * time.Second
	// maxCallAnswer bounds answers that go on as one message of the bus, in bytes.
	maxCallAnswer = 900 << 10
	v1            = "/_matrix/federation/v1"
	v2            = "/_matrix/federation/v2"
)

// remote answers the calls of remoteapi: what other components ask of other servers.
// remote_rooms.go, remote_state.go … have one function for each call.
type remote struct {
	name string // of this server
	ask  *peers.Client
	ring verify.Ring
	log  *logrus.Entry
	// spoolDir is where answers wait that are too large for memory.
	spoolDir string
}

// handle registers the calls.
func (r *remote) handle(b *bus.Bus) error {
	return errors.Join(
		bus.Handle(b, remoteapi.MakeMembership, r.makeMembership),
		bus.HandleStream(b, remoteapi.SendJoin, r.sendJoin),
		bus.Handle(b, remoteapi.SendMembership, r.sendMembership),
		bus.Handle(b, remoteapi.SendInvite, r.sendInvite),
		bus.Handle(b, remoteapi.ExchangeInvite, r.exchangeInvite),
		bus.Handle(b, remoteapi.MissingEvents, r.missingEvents),
		bus.Handle(b, remoteapi.Backfill, r.backfill),
		bus.Handle(b, remoteapi.StateIDs, r.stateIDs),
		bus.HandleStream(b, remoteapi.Events, r.events),
		bus.HandleStream(b, remoteapi.State, r.state),
		bus.HandleStream(b, remoteapi.EventAuth, r.eventAuth),
		bus.Handle(b, remoteapi.EventAt, r.eventAt),
		bus.Handle(b, remoteapi.Hierarchy, r.hierarchy),
		bus.Handle(b, remoteapi.PublicRooms, r.publicRooms),
		bus.Handle(b, remoteapi.ResolveAlias, r.resolveAlias),
		bus.Handle(b, remoteapi.PolicySign, r.policySign),
		bus.Handle(b, remoteapi.Profile, r.profile),
		bus.Handle(b, remoteapi.QueryKeys, r.queryKeys),
		bus.Handle(b, remoteapi.ClaimKeys, r.claimKeys),
		bus.Handle(b, remoteapi.UserDevices, r.userDevices),
		bus.Handle(b, remoteapi.OpenID, r.openID),
		bus.HandleStream(b, remoteapi.Media, r.media),
	)
}

// path joins escaped segments.
func path(prefix string, segments ...string) string {
	for _, s := range segments {
		prefix += "/" + url.PathEscape(s)
	}
	return prefix
}

// version returns a room version by its name.
func version(id string) (*pdu.RoomVersion, error) {
	v, ok := pdu.Version(id)
	if !ok {
		return nil, merr.New(http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION", "The room version %.20q is not supported", id)
	}
	return v, nil
}

// each tries destinations in turn until one gives what is asked for. Our own name and
// repeated ones are passed over. The error is that which says most.
func (r *remote) each(ctx context.Context, destinations []string, try func(ctx context.Context, destination string) error) error {
	var best error
	for i, d := range destinations {
		if d == r.name || slices.Contains(destinations[:i], d) {
			continue
		}
		if i >= maxDestinations || ctx.Err() != nil {
			break
		}
		err := try(ctx, d)
		if err == nil {
			return nil
		}
		best = better(best, err)
	}
	if best == nil {
		best = merr.NotFound("No other server is known that could be asked")
	}
	return best
}

// better returns the error that says more to a user: a refusal more than silence.
func better(a, b error) error {
	if a == nil || merr.From(a).Temporary && !merr.From(b).Temporary {
		return b
	}
	return a
}

// object sends a GET request whose answer is an object that fits in a call.
func (r *remote) object(ctx context.Context, destination, path string, query url.Values, eager bool) (json.RawMessage, error) {
	return r.ask.Do(ctx, transport.Request{
		Destination: destination, Method: http.MethodGet, Path: path, Query: query, MaxAnswer: maxCallAnswer, Timeout: tryTime,
	}, eager)
}

// put sends an object and returns the answer, another one.
func (r *remote) put(ctx context.Context, destination, path string, body []byte, timeout time.Duration) (json.RawMessage, error) {
	return r.ask.Do(ctx, transport.Request{
		Destination: destination, Method: http.MethodPut, Path: path, Body: body, MaxAnswer: maxCallAnswer, Timeout: timeout,
	}, true)
}

// putOld sends an object to an endpoint of version 1 that answers [200, object].
func (r *remote) putOld(ctx context.Context, destination, path string, body []byte, timeout time.Duration) (json.RawMessage, error) {
	a, err := r.ask.Open(ctx, transport.Request{
		Destination: destination, Method: http.MethodPut, Path: path, Body: body, MaxAnswer: maxCallAnswer, Timeout: timeout,
	}, true)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	pair, err := a.Array()
	if err != nil {
		return nil, err
	}
	if len(pair) != 2 || string(pair[0]) != "200" || pdu.Kind(pair[1]) != '{' {
		return nil, transport.Malformed("not a pair of 200 and an object")
	}
	return pair[1], nil
}

// encode returns the JSON of what cannot fail to have one.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // what we encode are maps of texts, numbers and JSON that was checked
	}
	return b
}

// raws returns the elements of an array of objects, at most limit.
func raws(array []byte, limit int) ([]json.RawMessage, error) {
	var out []json.RawMessage
	ok := pdu.Elements(array, func(val []byte) bool {
		out = append(out, val)
		return len(out) <= limit
	})
	if !ok {
		return nil, transport.Malformed("a list is missing")
	}
	if len(out) > limit {
		return nil, transport.Malformed("a list has more than %d elements", limit)
	}
	return out, nil
}

// validUser checks the id of a user of another server and returns the server.
func (r *remote) validUser(userID string) (server string, err error) {
	_, server, err = pdu.ParseUserID(userID)
	if err != nil {
		return "", err
	}
	if server == r.name {
		return "", merr.NotFound("The user is not of another server")
	}
	return server, nil
}
