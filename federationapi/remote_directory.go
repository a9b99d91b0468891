package federationapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	maxChildren     = 1000 // of a space
	maxPublished    = 1000 // rooms in a page of a directory
	maxAliasServers = 100
)

// hierarchy asks for a space and what is directly in it.
func (r *remote) hierarchy(ctx context.Context, req *remoteapi.HierarchyRequest) (resp *remoteapi.HierarchyResponse, err error) {
	query := url.Values{"suggested_only": {strconv.FormatBool(req.SuggestedOnly)}}
	err = r.each(ctx, req.Destinations, func(ctx context.Context, destination string) error {
		answer, err := r.object(ctx, destination, path(v1+"/hierarchy", req.RoomID), query, false)
		if err != nil {
			return err
		}
		resp, err = readHierarchy(answer, req.RoomID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func readHierarchy(answer []byte, roomID string) (*remoteapi.HierarchyResponse, error) {
	room, _ := pdu.Get(answer, "room")
	if id, _ := pdu.GetString(room, "room_id"); id != roomID {
		return nil, transport.Malformed("it is not the room that was asked for")
	}
	state, _ := pdu.Get(room, "children_state")
	if !isRoomSummary(room) || pdu.Kind(state) != '[' {
		return nil, transport.Malformed("what is said of the room is not complete")
	}
	list, _ := pdu.Get(answer, "children")
	children, err := raws(list, maxChildren)
	if err != nil {
		return nil, err
	}
	resp := &remoteapi.HierarchyResponse{Room: json.RawMessage(room)}
	for _, child := range children {
		if isRoomSummary(child) {
			resp.Children = append(resp.Children, child)
		}
	}
	hidden, _ := pdu.Get(answer, "inaccessible_children")
	pdu.Elements(hidden, func(val []byte) bool {
		id, _ := pdu.String(val)
		if _, _, err := pdu.ParseRoomID(id); err == nil && len(resp.Inaccessible) < maxChildren {
			resp.Inaccessible = append(resp.Inaccessible, id)
		}
		return true
	})
	return resp, nil
}

// isRoomSummary reports whether an object has what a room summary must have, and nothing
// in a form that it must not have.
func isRoomSummary(room []byte) bool {
	id, _ := pdu.GetString(room, "room_id")
	if _, _, err := pdu.ParseRoomID(id); err != nil {
		return false
	}
	members, ok := pdu.GetInt(room, "num_joined_members")
	_, readable := pdu.GetBool(room, "world_readable")
	_, guests := pdu.GetBool(room, "guest_can_join")
	if !ok || members < 0 || !readable || !guests {
		return false
	}
	for _, key := range []string{"name", "topic", "avatar_url", "canonical_alias", "join_rule", "room_type", "encryption", "room_version"} {
		if val, there := pdu.Get(room, key); there && pdu.Kind(val) != '"' && pdu.Kind(val) != 'n' {
			return false
		}
	}
	return true
}

// publicRooms asks for a page of another server's directory.
func (r *remote) publicRooms(ctx context.Context, req *remoteapi.PublicRoomsRequest) (*remoteapi.Object, error) {
	answer, err := r.ask.Do(ctx, transport.Request{
		Destination: req.Destination, Method: http.MethodPost, Path: v1 + "/publicRooms", Body: req.Body,
		MaxAnswer: maxCallAnswer, Timeout: tryTime,
	}, true)
	if err != nil {
		return nil, err
	}
	list, _ := pdu.Get(answer, "chunk")
	rooms, err := raws(list, maxPublished)
	if err != nil {
		return nil, err
	}
	chunk := []json.RawMessage{}
	for _, room := range rooms {
		if isRoomSummary(room) {
			chunk = append(chunk, room)
		}
	}
	out := map[string]any{"chunk": chunk}
	for _, key := range []string{"next_batch", "prev_batch"} {
		if token, ok := pdu.GetString(answer, key); ok && len(token) <= 1024 {
			out[key] = token
		}
	}
	if n, ok := pdu.GetInt(answer, "total_room_count_estimate"); ok && n >= 0 {
		out["total_room_count_estimate"] = n
	}
	return &remoteapi.Object{JSON: encode(out)}, nil
}

// resolveAlias asks the server of an alias.
func (r *remote) resolveAlias(ctx context.Context, req *remoteapi.AliasRequest) (*remoteapi.AliasResponse, error) {
	_, server, err := pdu.ParseAlias(req.Alias)
	if err != nil {
		return nil, err
	}
	if server == r.name {
		return nil, merr.NotFound("The alias is not of another server")
	}
	answer, err := r.object(ctx, server, v1+"/query/directory", url.Values{"room_alias": {req.Alias}}, true)
	if err != nil {
		return nil, err
	}
	resp := &remoteapi.AliasResponse{}
	resp.RoomID, _ = pdu.GetString(answer, "room_id")
	if _, _, err := pdu.ParseRoomID(resp.RoomID); err != nil {
		return nil, transport.Malformed("no room id")
	}
	servers, _ := pdu.Get(answer, "servers")
	isList := pdu.Elements(servers, func(val []byte) bool {
		name, _ := pdu.String(val)
		if _, _, err := pdu.ParseServerName(name); err == nil {
			resp.Servers = append(resp.Servers, name)
		}
		return len(resp.Servers) < maxAliasServers
	})
	if !isList {
		return nil, transport.Malformed("no list of servers")
	}
	return resp, nil
}
