package federationapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"hearth/federationapi/bigjson"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	// maxState bounds the answers that hold the state of a room, in bytes.
	maxState = 512 << 20
	// maxOneEvent bounds one event in them; unsigned data may add to the event itself.
	maxOneEvent = 1 << 20
	stateTime   = 5 * time.Minute
	maxServers  = 50_000 // in a room
)

// sendJoin sends a join and streams the state that comes back.
func (r *remote) sendJoin(ctx context.Context, req *remoteapi.SendJoinRequest, send func([]byte) error) error {
	v, err := version(req.RoomVersion)
	if err != nil {
		return err
	}
	ours, err := req.Event.Load(v)
	if err != nil {
		return err
	}
	a, old, err := r.putJoin(ctx, req)
	if err != nil {
		return err
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := &joinAnswer{
		remote: r, ctx: ctx, req: req, version: v, json: bigjson.New(a, maxOneEvent),
		out: remoteapi.NewJoinWriter(send), spool: &spool{dir: r.spoolDir}, send: send,
	}
	defer j.spool.close()
	j.events = pipeline{ctx: ctx, ring: r.ring, version: v, room: req.RoomID, stateOnly: true, emit: j.emit}
	// Only a restricted join comes back changed, and only who lets members be left out
	// must know whether they were.
	restricted, _ := pdu.Get(ours.Content, "join_authorised_via_users_server")
	if len(restricted) == 0 && !req.OmitMembers {
		if err := j.begin(&remoteapi.JoinHeader{}); err != nil {
			return err
		}
	}
	if err := j.read(old); err != nil {
		return foreign(err)
	}
	return j.end()
}

// foreign makes an error about what another server sent one that can be shown.
func foreign(err error) error {
	if _, ok := err.(*merr.Error); ok {
		return err
	}
	return transport.Malformed("%w", err)
}

// putJoin sends the join; old says that the answer is of version 1.
func (r *remote) putJoin(ctx context.Context, req *remoteapi.SendJoinRequest) (a *transport.Answer, old bool, err error) {
	ask := transport.Request{
		Destination: req.Destination, Method: http.MethodPut, Path: path(v2+"/send_join", req.RoomID, req.Event.EventID),
		Query: url.Values{"omit_members": {strconv.FormatBool(req.OmitMembers)}}, Body: req.Event.JSON,
		Timeout: stateTime, Wait: stateTime, MaxAnswer: maxState,
	}
	a, err = r.ask.Open(ctx, ask, true)
	if transport.Unrecognized(err) {
		ask.Path, ask.Query = path(v1+"/send_join", req.RoomID, req.Event.EventID), nil
		a, err = r.ask.Open(ctx, ask, true)
		old = true
	}
	return a, old, err
}

// joinAnswer is the answer to a send_join on its way. Its header goes out before the
// events; as long as it is not known, they wait in the spool.
type joinAnswer struct {
	*remote
	ctx     context.Context
	req     *remoteapi.SendJoinRequest
	version *pdu.RoomVersion
	json    *bigjson.Reader
	events  pipeline
	send    func([]byte) error
	out     *remoteapi.JoinWriter
	spool   *spool
	kept    *remoteapi.JoinWriter // into the spool
	begun   bool

	event          json.RawMessage
	omitted        bool
	servers        []string
	hasState, auth bool
}

// emit hands on an event, or keeps it.
func (j *joinAnswer) emit(kind byte, e *pdu.Event) error {
	w := j.out
	if !j.begun {
		if j.kept == nil {
			j.kept = remoteapi.NewJoinWriter(j.spool.write)
		}
		w = j.kept
	}
	return writeJoin(w, kind, e)
}

// begin sends the header and what waited for it.
func (j *joinAnswer) begin(h *remoteapi.JoinHeader) error {
	j.begun = true
	if err := j.out.Head(h); err != nil {
		return err
	}
	if j.kept == nil {
		return nil
	}
	if err := j.kept.Flush(); err != nil {
		return err
	}
	if err := j.out.Flush(); err != nil {
		return err
	}
	return j.spool.replay(j.send)
}

// read reads the body.
func (j *joinAnswer) read(old bool) error {
	if !old {
		if err := j.json.Object(j.member); err != nil {
			return err
		}
		return j.json.End()
	}
	n := 0
	err := j.json.Array(func() error {
		if n++; n == 2 {
			return j.json.Object(j.member)
		}
		val, err := j.json.Value()
		if err == nil && (n > 2 || string(val) != "200") {
			err = transport.Malformed("not a pair of 200 and an object")
		}
		return err
	})
	if err != nil {
		return err
	}
	return j.json.End()
}

func (j *joinAnswer) member(key string) error {
	switch key {
	case "state":
		j.hasState = true
		return j.list(remoteapi.KindState)
	case "auth_chain":
		j.auth = true
		return j.list(remoteapi.KindAuth)
	case "servers_in_room":
		return j.json.Array(func() error {
			val, err := j.json.Value()
			if name, ok := pdu.String(val); err == nil && ok && len(j.servers) < maxServers {
				if _, _, wrong := pdu.ParseServerName(name); wrong == nil {
					j.servers = append(j.servers, name)
				}
			}
			return err
		})
	}
	val, err := j.json.Value()
	switch {
	case err != nil:
		return err
	case key == "event":
		j.event = val
	case key == "members_omitted":
		j.omitted = string(val) == "true"
	}
	return nil
}

func (j *joinAnswer) list(kind byte) error {
	return j.json.Array(func() error {
		raw, err := j.json.Value()
		if err != nil {
			return err
		}
		return j.events.add(kind, raw)
	})
}

// end checks what the body has said and hands on the rest.
func (j *joinAnswer) end() error {
	if !j.hasState || !j.auth {
		return transport.Malformed("the answer to the join has no state or no auth chain")
	}
	if j.omitted && !j.req.OmitMembers {
		return transport.Malformed("members are left out that were asked for")
	}
	if err := j.events.finish(); err != nil {
		return foreign(err)
	}
	if !j.begun {
		h, err := j.header()
		if err != nil {
			return err
		}
		if err := j.begin(h); err != nil {
			return err
		}
	}
	if j.events.bad > 0 {
		j.log.WithField("server", j.req.Destination).WithField("room", j.req.RoomID).WithField("events", j.events.bad).
			Warn("events of the state of a room are not valid and were left out")
	}
	return j.out.Flush()
}

// header makes the header of what was read.
func (j *joinAnswer) header() (*remoteapi.JoinHeader, error) {
	h := &remoteapi.JoinHeader{MembersOmitted: j.omitted}
	if j.omitted {
		h.ServersInRoom = j.servers
	}
	if len(j.event) == 0 {
		return h, nil
	}
	ours, err := j.req.Event.Load(j.version)
	if err != nil {
		return nil, err
	}
	by, ok := pdu.GetString(ours.Content, "join_authorised_via_users_server")
	if !ok || !j.version.RestrictedJoins {
		return h, nil // what else they did to it is of no importance
	}
	signed, err := j.cosigned(j.ctx, j.version, j.req.Event, j.event, pdu.Domain(by))
	if err != nil {
		return nil, err
	}
	h.Event = signed
	return h, nil
}
