package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// thirdPartyProtocols is GET /thirdparty/protocols.
func (s *Server) thirdPartyProtocols(r *matrixhttp.Request) (any, error) {
	return s.services.Protocols(r.Context()), nil
}

// thirdPartyProtocol is GET /thirdparty/protocol/{protocol}.
func (s *Server) thirdPartyProtocol(r *matrixhttp.Request) (any, error) {
	return s.services.Protocol(r.Context(), r.Param("protocol"))
}

// thirdPartyLocations is GET /thirdparty/location and /thirdparty/location/{protocol}.
func (s *Server) thirdPartyLocations(r *matrixhttp.Request) (any, error) {
	return s.thirdPartyPlaces(r, "alias", s.services.Locations)
}

// thirdPartyUsers is GET /thirdparty/user and /thirdparty/user/{protocol}.
func (s *Server) thirdPartyUsers(r *matrixhttp.Request) (any, error) {
	return s.thirdPartyPlaces(r, "userid", s.services.Users)
}

// thirdPartyPlaces passes the query on. Without a protocol it must have key.
func (s *Server) thirdPartyPlaces(r *matrixhttp.Request, key string,
	find func(ctx context.Context, protocol string, fields url.Values) ([]json.RawMessage, error)) (any, error) {
	if err := r.Query().Err(); err != nil {
		return nil, err
	}
	fields := r.HTTP.URL.Query()
	if r.Identity.Service != "" { // these say who asks
		fields.Del("user_id")
		fields.Del("device_id")
	}
	protocol := r.Param("protocol")
	if protocol == "" && fields.Get(key) == "" {
		return nil, merr.MissingParam(key)
	}
	return find(r.Context(), protocol, fields)
}

// setNetworkVisibility is PUT /directory/list/appservice/{networkId}/{roomId}.
func (s *Server) setNetworkVisibility(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	network := r.Param("networkId")
	if !plainText(network) {
		return nil, merr.InvalidParam("Invalid network id")
	}
	req, err := matrixhttp.Decode[struct {
		Visibility string `json:"visibility"`
	}](r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"public", "private"}, req.Visibility) {
		return nil, merr.InvalidParam("visibility is public or private")
	}
	return nil, s.services.SetNetworkRoom(r.Context(), s.asking(r), network, room, req.Visibility == "public")
}

// networkToken begins the tokens of pages of network directories; a room id follows.
const networkToken = "x"

// maxNetworkPage bounds the rooms that one page looks at.
const maxNetworkPage = 100

// networkRooms is a page of the directory of a third-party network, or of all of them
// if instance is empty. Rooms that the user could not get into are left out.
func (s *Server) networkRooms(r *matrixhttp.Request, instance string, req *roomapi.PublicRoomsRequest) (any, error) {
	after, ok := strings.CutPrefix(req.Since, networkToken)
	if req.Since != "" && !ok {
		return nil, merr.InvalidParam("Invalid pagination token")
	}
	limit := min(req.Limit, maxNetworkPage)
	rooms, err := s.services.NetworkRooms(r.Context(), instance, after, limit+1)
	if err != nil {
		return nil, err
	}
	page := &roomapi.PublicRoomsResponse{Chunk: []roomapi.Summary{}}
	if len(rooms) > limit {
		rooms = rooms[:limit]
		page.Next = networkToken + rooms[limit-1]
	}
	for _, room := range rooms {
		if instance == "" { // who asks has had the rooms of the server's own directory
			own, err := roomapi.IsPublished.Do(r.Context(), s.bus, &roomapi.RoomRequest{RoomID: room})
			if err == nil && own.Published {
				continue
			}
		}
		summary, err := roomapi.GetSummary.Do(r.Context(), s.bus, &roomapi.SummaryRequest{RoomIDOrAlias: room, UserID: r.Identity.UserID})
		if errors.Is(err, merr.NotFound("")) || errors.Is(err, merr.Forbidden("")) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if summary.Membership = ""; selects(req, summary) {
			page.Chunk = append(page.Chunk, *summary)
		}
	}
	page.Total = len(page.Chunk)
	return page, nil
}

// selects applies the filter of a directory request.
func selects(req *roomapi.PublicRoomsRequest, room *roomapi.Summary) bool {
	if !req.AnyType && !slices.Contains(req.RoomTypes, room.RoomType) {
		return false
	}
	term := strings.ToLower(req.Term)
	return slices.ContainsFunc([]string{room.Name, room.Topic, room.CanonicalAlias}, func(text string) bool {
		return strings.Contains(strings.ToLower(text), term)
	})
}

// allNetworks is a page of the server's directory followed by those of the networks.
func (s *Server) allNetworks(r *matrixhttp.Request, server string, req *roomapi.PublicRoomsRequest) (any, error) {
	if strings.HasPrefix(req.Since, networkToken) {
		return s.networkRooms(r, "", req)
	}
	answer, err := s.listPublicRooms(r, server, req)
	page, ok := answer.(*roomapi.PublicRoomsResponse)
	if err != nil || !ok || page.Next != "" {
		return answer, err
	}
	rooms, err := s.services.NetworkRooms(r.Context(), "", "", 1)
	if len(rooms) > 0 {
		page.Next = networkToken
	}
	return page, err
}
