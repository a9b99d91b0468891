package clientapi

import (
	"encoding/json"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// tags is GET /user/{userId}/rooms/{roomId}/tags.
func (s *Server) tags(r *matrixhttp.Request) (any, error) {
	room, err := tagRoom(r)
	if err != nil {
		return nil, err
	}
	data, err := userapi.GetAccountData.Do(r.Context(), s.bus, &userapi.AccountDataRequest{
		UserID: r.Identity.UserID, RoomID: room, Type: userapi.TypeTag,
	})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return nil, err
	}
	tags := json.RawMessage("{}")
	if data != nil {
		if have, ok := pdu.Get(data.Content, "tags"); ok && len(have) > 0 && have[0] == '{' {
			tags = have
		}
	}
	return map[string]any{"tags": tags}, nil
}

func tagRoom(r *matrixhttp.Request) (string, error) {
	if err := self(r); err != nil {
		return "", err
	}
	return roomID(r)
}

// setTag is PUT /user/{userId}/rooms/{roomId}/tags/{tag}.
func (s *Server) setTag(r *matrixhttp.Request) (any, error) {
	room, err := tagRoom(r)
	if err != nil {
		return nil, err
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	if order, ok := pdu.Get(content, "order"); ok && (len(order) == 0 || order[0] != '-' && (order[0] < '0' || order[0] > '9')) {
		return nil, merr.BadJSON("order must be a number")
	}
	return s.changeTag(r, room, content)
}

// deleteTag is DELETE /user/{userId}/rooms/{roomId}/tags/{tag}.
func (s *Server) deleteTag(r *matrixhttp.Request) (any, error) {
	room, err := tagRoom(r)
	if err != nil {
		return nil, err
	}
	return s.changeTag(r, room, nil)
}

func (s *Server) changeTag(r *matrixhttp.Request, room string, content []byte) (any, error) {
	tag := r.Param("tag")
	if !plainText(tag) {
		return nil, merr.InvalidParam("Invalid tag")
	}
	_, err := userapi.SetTag.Do(r.Context(), s.bus, &userapi.SetTagRequest{UserID: r.Identity.UserID, RoomID: room, Tag: tag, Content: content})
	return nil, err
}
