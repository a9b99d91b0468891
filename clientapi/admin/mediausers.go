package admin

import (
	"encoding/json"
	"errors"

	"hearth/clientapi/media"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// profileMedia are the files that users and rooms of this server show themselves by.
func (s *Server) profileMedia(r *matrixhttp.Request) (map[string]bool, error) {
	used := map[string]bool{}
	for from := 0; ; from += mediaStep {
		page, err := userapi.ListUsers.Do(r.Context(), s.Bus, &userapi.ListUsersRequest{From: from, Limit: mediaStep, Order: "name"})
		if err != nil {
			return nil, err
		}
		for _, u := range page.Users {
			used[u.AvatarURL] = true
		}
		if len(page.Users) < mediaStep {
			break
		}
	}
	for from := 0; ; from += mediaStep {
		page, err := roomapi.ListRooms.Do(r.Context(), s.Bus, &roomapi.ListRoomsRequest{From: from, Limit: mediaStep})
		if err != nil {
			return nil, err
		}
		for _, room := range page.Rooms {
			used[room.AvatarURL] = true
		}
		if len(page.Rooms) < mediaStep {
			return used, nil
		}
	}
}

// mediaStatistics is GET /v1/statistics/users/media.
func (s *Server) mediaStatistics(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &media.UsageQuery{
		Order: q.String("order_by"), Backwards: q.Enum("dir", "f", "f", "b") == "b", Text: q.String("search_term"),
		From: int(q.Int("from", 0, 0, 1<<40)), Limit: int(q.Int("limit", 100, 1, 1000)),
		Since: q.Int("from_ts", 0, 0, 1<<53), Till: q.Int("until_ts", 0, 0, 1<<53),
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	switch {
	case req.Order != "" && !media.IsUsageOrder(req.Order):
		return nil, merr.InvalidParam("Unknown value for order_by")
	case req.Till != 0 && req.Till <= req.Since:
		return nil, merr.InvalidParam("until_ts must be greater than from_ts")
	case q.Has("search_term") && req.Text == "":
		return nil, merr.InvalidParam("search_term cannot be an empty string")
	}
	page, total, err := s.Media.Statistics(r.Context(), req)
	if err != nil {
		return nil, err
	}
	users := make([]map[string]any, len(page))
	for i, u := range page {
		var name any
		profile, err := userapi.GetProfile.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
		if err == nil {
			_ = json.Unmarshal(profile.Fields["displayname"], &name) // null if there is none
		} else if !errors.Is(err, merr.NotFound("")) {
			return nil, err
		}
		users[i] = map[string]any{"user_id": u.UserID, "displayname": name, "media_count": u.Files, "media_length": u.Bytes}
	}
	out := map[string]any{"users": users, "total": total}
	if next := req.From + len(users); int64(next) < total && len(users) > 0 {
		out["next_token"] = next
	}
	return out, nil
}
