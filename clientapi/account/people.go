package account

import (
	"context"
	"encoding/json"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

func (s *Store) searchUsers(ctx context.Context, req *userapi.SearchUsersRequest) (*userapi.SearchUsersResponse, error) {
	// The index has localparts: of a whole user id the server's part must be ours.
	term := strings.ToLower(req.Term)
	if localpart, server, found := strings.Cut(term, ":"); found && strings.HasPrefix(term, "@") {
		if !strings.HasPrefix(s.serverName, server) {
			return &userapi.SearchUsersResponse{}, nil
		}
		term = localpart
	}
	if term == "" || !plain(term, userapi.MaxKey) || req.Skip < 0 {
		return &userapi.SearchUsersResponse{}, nil
	}
	list, err := s.users.Search(ctx, term, userapi.MaxFound+1, req.Skip)
	if err != nil {
		return nil, err
	}
	answer := &userapi.SearchUsersResponse{More: len(list) > userapi.MaxFound}
	for _, u := range list[:min(userapi.MaxFound, len(list))] {
		found := userapi.FoundUser{UserID: s.userID(u.Localpart)}
		for field, into := range map[string]*string{"displayname": &found.DisplayName, "avatar_url": &found.AvatarURL} {
			if err := json.Unmarshal(u.Fields[field], into); err != nil {
				*into = "" // not set
			}
		}
		answer.Users = append(answer.Users, found)
	}
	return answer, nil
}

func (s *Store) setTag(ctx context.Context, req *userapi.SetTagRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if req.Tag == "" || !plain(req.Tag, userapi.MaxKey) || req.RoomID == "" || !plain(req.RoomID, userapi.MaxKey) {
		return nil, merr.InvalidParam("Invalid tag or room id")
	}
	if len(req.Content) > userapi.MaxTagSize {
		return nil, merr.TooLarge("The tag is larger than %d bytes", userapi.MaxTagSize)
	}
	piece := userapi.AccountData{RoomID: req.RoomID, Type: userapi.TypeTag}
	return &userapi.Empty{}, s.users.EditAccountData(ctx, localpart, piece, userapi.MaxAccountData, func(old []byte) ([]byte, error) {
		return retag(old, req.Tag, req.Content)
	})
}

// retag sets a tag in the content of m.tag, or removes it if content is nil. It
// returns nil if nothing changes. Whatever else the user has put there stays.
func retag(old []byte, tag string, content json.RawMessage) ([]byte, error) {
	all := map[string]json.RawMessage{}
	pdu.Members(old, func(key string, value []byte) bool {
		all[key] = value
		return true
	})
	tags := map[string]json.RawMessage{}
	if before := all["tags"]; len(before) > 0 && before[0] == '{' {
		pdu.Members(before, func(key string, value []byte) bool {
			tags[key] = value
			return true
		})
	}
	_, had := tags[tag]
	switch {
	case content == nil && !had:
		return nil, nil
	case content == nil:
		delete(tags, tag)
	case !had && len(tags) >= userapi.MaxTags:
		return nil, merr.Forbidden("This room has %d tags, remove some first", len(tags))
	default:
		tags[tag] = content
	}
	raw, err := json.Marshal(tags)
	if err != nil {
		return nil, err
	}
	all["tags"] = raw
	if raw, err = json.Marshal(all); err != nil {
		return nil, err
	}
	return pdu.Canonical(raw, false)
}

func (s *Store) noticeRoom(ctx context.Context, req *userapi.UserRequest) (*userapi.RoomOfUser, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	room, err := s.users.NoticeRoom(ctx, localpart)
	return &userapi.RoomOfUser{UserID: req.UserID, RoomID: room}, err
}

func (s *Store) setNoticeRoom(ctx context.Context, req *userapi.RoomOfUser) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.SetNoticeRoom(ctx, localpart, req.RoomID)
}
