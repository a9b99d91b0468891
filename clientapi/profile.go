package clientapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Profile fields that member events repeat.
const (
	fieldDisplayName = "displayname"
	fieldAvatarURL   = "avatar_url"
)

// maxMemberField bounds those in bytes, since every member event holds them.
const maxMemberField = 1000

// profile is GET /profile/{userId}.
func (s *Server) profile(r *matrixhttp.Request) (any, error) {
	profile, err := s.lookupProfile(r, "")
	if err != nil {
		return nil, err
	}
	return profile.Fields, nil
}

// lookupProfile finds a profile, or as much of it as the field's name asks for.
func (s *Server) lookupProfile(r *matrixhttp.Request, field string) (*userapi.Profile, error) {
	id := r.Param("userId")
	if err := userID(id); err != nil {
		return nil, err
	}
	if err := s.hiddenFrom(r, id); err != nil {
		return nil, err
	}
	if !s.isLocal(id) {
		return s.profileElsewhere(r.Context(), id, field)
	}
	profile, err := userapi.GetProfile.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: id})
	if err != nil {
		profile, err = s.unknownUser(r.Context(), id, err)
	}
	if err == nil && profile.Fields == nil {
		profile = &userapi.Profile{Fields: map[string]json.RawMessage{}}
	}
	return profile, err
}

// profileField is GET /profile/{userId}/{keyName}.
func (s *Server) profileField(r *matrixhttp.Request) (any, error) {
	key := r.Param("keyName")
	profile, err := s.lookupProfile(r, key)
	if err != nil {
		return nil, err
	}
	value, ok := profile.Fields[key]
	if !ok {
		return nil, merr.NotFound("The profile has no such field")
	}
	return map[string]json.RawMessage{key: value}, nil
}

// setProfileField is PUT /profile/{userId}/{keyName}.
func (s *Server) setProfileField(r *matrixhttp.Request) (any, error) {
	key, err := profileKey(r)
	if err != nil {
		return nil, err
	}
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	value, ok := pdu.Get(body, key)
	if !ok {
		return nil, merr.MissingParam(key)
	}
	if value, err = checkField(key, value); err != nil {
		return nil, err
	}
	return nil, s.changeProfile(r, key, value)
}

// deleteProfileField is DELETE /profile/{userId}/{keyName}.
func (s *Server) deleteProfileField(r *matrixhttp.Request) (any, error) {
	key, err := profileKey(r)
	if err != nil {
		return nil, err
	}
	return nil, s.changeProfile(r, key, nil)
}

// changeProfile stores a field; the user store tells the rooms.
func (s *Server) changeProfile(r *matrixhttp.Request, key string, value []byte) error {
	_, err := userapi.SetProfile.Do(r.Context(), s.bus, &userapi.SetProfileRequest{
		UserID: r.Identity.UserID, Key: key, Value: value,
	})
	return err
}

// profileKey checks the key of the path: displayname, avatar_url, or a name of the
// common namespaced identifier grammar (appendices).
func profileKey(r *matrixhttp.Request) (string, error) {
	if err := self(r); err != nil {
		return "", err
	}
	key := r.Param("keyName")
	if r.Identity.Guest && key != fieldDisplayName {
		return "", guestForbidden("Guests may only change their display name")
	}
	if len(key) > userapi.MaxKey {
		return "", merr.New(http.StatusBadRequest, "M_KEY_TOO_LARGE", "The profile key is longer than %d bytes", userapi.MaxKey)
	}
	if key != fieldDisplayName && key != fieldAvatarURL && !namespaced(key) {
		return "", merr.InvalidParam("Invalid profile key")
	}
	return key, nil
}

func namespaced(key string) bool {
	if !strings.Contains(key, ".") {
		return false
	}
	for part := range strings.SplitSeq(key, ".") {
		if part == "" || part[0] < 'a' || part[0] > 'z' {
			return false
		}
		for i := 0; i < len(part); i++ {
			c := part[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
				return false
			}
		}
	}
	return true
}

// checkField checks the fields that the spec gives a type. An empty name or avatar
// is the older way to delete one; nil is returned for it.
func checkField(key string, value []byte) ([]byte, error) {
	switch key {
	case fieldDisplayName, fieldAvatarURL, "m.tz":
	default:
		return value, nil
	}
	if string(value) == "null" && key != "m.tz" {
		return nil, nil
	}
	text, ok := pdu.String(value)
	if !ok {
		return nil, merr.BadJSON("%s must be a string", key)
	}
	if len(text) > maxMemberField {
		return nil, merr.InvalidParam("%s is longer than %d bytes", key, maxMemberField)
	}
	if key == "m.tz" {
		return value, nil
	}
	if text == "" {
		return nil, nil
	}
	if key == fieldAvatarURL && !strings.HasPrefix(text, "mxc://") {
		return nil, merr.InvalidParam("avatar_url must be an mxc:// URI")
	}
	return value, nil
}
