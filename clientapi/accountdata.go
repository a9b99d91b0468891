package clientapi

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// typePushRules is account data that only the push rules API changes.
const typePushRules = "m.push_rules"

// dataKey reads what the path of account data names: global data has no room.
func dataKey(r *matrixhttp.Request) (room, kind string, err error) {
	if err := self(r); err != nil {
		return "", "", err
	}
	if r.Param("roomId") != "" {
		if room, err = roomID(r); err != nil {
			return "", "", err
		}
	}
	kind = r.Param("type")
	if !plainText(kind) {
		return "", "", merr.InvalidParam("Invalid type of account data")
	}
	return room, kind, nil
}

// accountData is GET /user/{userId}/account_data/{type} and its form for rooms.
func (s *Server) accountData(r *matrixhttp.Request) (any, error) {
	room, kind, err := dataKey(r)
	if err != nil {
		return nil, err
	}
	if kind == typePushRules && room == "" {
		return s.pushRules(r)
	}
	data, err := userapi.GetAccountData.Do(r.Context(), s.bus, &userapi.AccountDataRequest{
		UserID: r.Identity.UserID, RoomID: room, Type: kind,
	})
	if err != nil {
		return nil, err
	}
	return data.Content, nil
}

// setAccountData is PUT /user/{userId}/account_data/{type} and its form for rooms.
func (s *Server) setAccountData(r *matrixhttp.Request) (any, error) {
	room, kind, err := dataKey(r)
	if err != nil {
		return nil, err
	}
	if kind == kindFullyRead || kind == typePushRules {
		return nil, merr.New(http.StatusMethodNotAllowed, "M_BAD_JSON", "%s cannot be set through this endpoint", kind)
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	_, err = userapi.SetAccountData.Do(r.Context(), s.bus, &userapi.SetAccountDataRequest{
		UserID: r.Identity.UserID, Data: userapi.AccountData{RoomID: room, Type: kind, Content: content},
	})
	return nil, err
}
