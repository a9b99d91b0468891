package clientapi

import (
	"encoding/json"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// publicRooms is GET /publicRooms.
func (s *Server) publicRooms(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	req := &roomapi.PublicRoomsRequest{Since: query.String("since"), Limit: int(query.Int("limit", 100, 1, 500)), AnyType: true}
	server := query.String("server")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.listPublicRooms(r, server, req)
}

type publicRoomsRequest struct {
	Limit  *int64 `json:"limit"`
	Since  string `json:"since"`
	Filter struct {
		Term      string     `json:"generic_search_term"`
		RoomTypes *[]*string `json:"room_types"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks"`
	Network     string `json:"third_party_instance_id"`
}

// searchPublicRooms is POST /publicRooms.
func (s *Server) searchPublicRooms(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	server := query.String("server")
	if err := query.Err(); err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[publicRoomsRequest](r)
	if err != nil {
		return nil, err
	}
	req := &roomapi.PublicRoomsRequest{Since: body.Since, Limit: 100, Term: body.Filter.Term, AnyType: body.Filter.RoomTypes == nil}
	if body.Limit != nil {
		if *body.Limit < 1 {
			return nil, merr.InvalidParam("limit must be positive")
		}
		req.Limit = int(min(*body.Limit, 500))
	}
	if body.AllNetworks && body.Network != "" {
		return nil, merr.InvalidParam("include_all_networks and third_party_instance_id exclude each other")
	}
	if !req.AnyType {
		for _, t := range *body.Filter.RoomTypes {
			if t == nil {
				req.RoomTypes = append(req.RoomTypes, "")
			} else {
				req.RoomTypes = append(req.RoomTypes, *t)
			}
		}
	}
	switch {
	case body.Network != "":
		return s.networkRooms(r, body.Network, req)
	case body.AllNetworks:
		return s.allNetworks(r, server, req)
	}
	return s.listPublicRooms(r, server, req)
}

func (s *Server) listPublicRooms(r *matrixhttp.Request, server string, req *roomapi.PublicRoomsRequest) (any, error) {
	if server != "" && server != s.serverName {
		return s.directoryElsewhere(r.Context(), server, req)
	}
	list, err := roomapi.PublicRooms.Do(r.Context(), s.bus, req)
	if err == nil {
		list.Chunk = slices.DeleteFunc(list.Chunk, func(room roomapi.Summary) bool {
			return s.policy.Allow(&userapi.PolicyQuery{Op: userapi.OpHide, Room: room.RoomID}) != nil
		})
	}
	return list, err
}

// directoryVisibility is GET /directory/list/room/{roomId}.
func (s *Server) directoryVisibility(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.IsPublished.Do(r.Context(), s.bus, &roomapi.RoomRequest{RoomID: room})
	if err != nil {
		return nil, err
	}
	visibility := "private"
	if answer.Published {
		visibility = "public"
	}
	return map[string]string{"visibility": visibility}, nil
}

// setDirectoryVisibility is PUT /directory/list/room/{roomId}.
func (s *Server) setDirectoryVisibility(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[struct {
		Visibility *string `json:"visibility"`
	}](r)
	if err != nil {
		return nil, err
	}
	req := &roomapi.SetPublishedRequest{RoomID: room, UserID: r.Identity.UserID, Published: true}
	if body.Visibility != nil {
		switch *body.Visibility {
		case "public":
		case "private":
			req.Published = false
		default:
			return nil, merr.InvalidParam("visibility is public or private")
		}
	}
	if req.Published {
		if err := s.policy.MayPublish(r.Context(), r.Identity.UserID, room); err != nil {
			return nil, err
		}
	}
	if _, err := roomapi.SetPublished.Do(r.Context(), s.bus, req); err != nil {
		return nil, err
	}
	return json.RawMessage("{}"), nil
}
