package federationapi

import (
	"math"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	maxDirectoryPage = 500
	maxRoomTypes     = 100
)

// publicRooms is GET /_matrix/federation/v1/publicRooms ("Published Room Directory").
func (s *Server) publicRooms(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	req := &roomapi.PublicRoomsRequest{
		Since: query.String("since"), Limit: directoryLimit(query.Int("limit", 0, 0, math.MaxInt32)), AnyType: true,
	}
	query.Bool("include_all_networks")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.directory(r, req, query.String("third_party_instance_id"))
}

type publicRoomsRequest struct {
	Limit  int64  `json:"limit"`
	Since  string `json:"since"`
	Filter struct {
		Term      string     `json:"generic_search_term"`
		RoomTypes *[]*string `json:"room_types"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks"`
	Network     string `json:"third_party_instance_id"`
}

// searchPublicRooms is POST /_matrix/federation/v1/publicRooms.
func (s *Server) searchPublicRooms(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[publicRoomsRequest](r)
	if err != nil {
		return nil, err
	}
	if body.Limit < 0 {
		return nil, merr.InvalidParam("limit must not be negative")
	}
	req := &roomapi.PublicRoomsRequest{
		Since: body.Since, Limit: directoryLimit(body.Limit), Term: body.Filter.Term, AnyType: body.Filter.RoomTypes == nil,
	}
	if !req.AnyType {
		if len(*body.Filter.RoomTypes) > maxRoomTypes {
			return nil, merr.InvalidParam("More than %d room types", maxRoomTypes)
		}
		for _, t := range *body.Filter.RoomTypes {
			if t == nil {
				req.RoomTypes = append(req.RoomTypes, "")
			} else {
				req.RoomTypes = append(req.RoomTypes, *t)
			}
		}
	}
	return s.directory(r, req, body.Network)
}

// directoryLimit is the size of a page; 0 stands for no limit.
func directoryLimit(n int64) int {
	if n == 0 {
		return maxDirectoryPage
	}
	return int(min(n, maxDirectoryPage))
}

// directory lists our own rooms. The rooms of networks that application services bridge
// are told to our users alone.
func (s *Server) directory(r *matrixhttp.Request, req *roomapi.PublicRoomsRequest, network string) (any, error) {
	if network != "" {
		return &roomapi.PublicRoomsResponse{Chunk: []roomapi.Summary{}}, nil
	}
	return roomapi.PublicRooms.Do(r.Context(), s.deps.Bus, req)
}

// openIDUser is GET /_matrix/federation/v1/openid/userinfo ("OpenID"). Third parties ask
// without a signature: the token is all that is needed.
func (s *Server) openIDUser(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	token := query.String("access_token")
	if err := query.Err(); err != nil {
		return nil, err
	}
	if token == "" {
		return nil, merr.MissingToken()
	}
	user, err := userapi.OpenIDUser.Do(r.Context(), s.deps.Bus, &userapi.OpenIDRequest{Token: token})
	if err != nil {
		return nil, err
	}
	return map[string]string{"sub": user.UserID}, nil
}
