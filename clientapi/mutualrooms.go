package clientapi

import (
	"encoding/base64"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// mutualRooms is GET /mutual_rooms. The path from before the spec calls the tokens
// batch_token and next_batch_token.
func (s *Server) mutualRooms(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	other, from := query.String("user_id"), query.String("from")
	if from == "" {
		from = query.String("batch_token")
	}
	if err := query.Err(); err != nil {
		return nil, err
	}
	if err := userID(other); err != nil {
		return nil, err
	}
	if other == r.Identity.UserID {
		return nil, merr.InvalidParam("The user must be another one")
	}
	after, err := base64.RawURLEncoding.DecodeString(from)
	if _, _, notRoom := pdu.ParseRoomID(string(after)); err != nil || from != "" && notRoom != nil {
		return nil, merr.InvalidParam("Unknown pagination token")
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	page, err := roomapi.MutualRooms.Do(r.Context(), s.bus, &roomapi.MutualRoomsRequest{
		UserID: r.Identity.UserID, Other: other, After: string(after),
	})
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"joined": append([]string{}, page.RoomIDs...), "count": page.Total}
	if page.More && len(page.RoomIDs) > 0 {
		next := base64.RawURLEncoding.EncodeToString([]byte(page.RoomIDs[len(page.RoomIDs)-1]))
		answer["next_batch"], answer["next_batch_token"] = next, next
	}
	return answer, nil
}
