package clientapi

import (
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const typeIgnoredUsers = "m.ignored_user_list"

// ignored lists the users whom the sender of a request ignores (client-server API,
// "Ignoring Users"). The list is account data, so it may hold anything.
func (s *Server) ignored(r *matrixhttp.Request) ([]string, error) {
	data, err := userapi.GetAccountData.Do(r.Context(), s.bus, &userapi.AccountDataRequest{
		UserID: r.Identity.UserID, Type: typeIgnoredUsers,
	})
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	users, ok := pdu.Get(data.Content, "ignored_users")
	if !ok || len(users) == 0 || users[0] != '{' {
		return nil, nil
	}
	var list []string
	pdu.Members(users, func(user string, _ []byte) bool {
		list = append(list, user)
		return true
	})
	return list, nil
}
