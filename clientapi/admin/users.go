package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// listUsers is GET /v2/users.
func (s *Server) listUsers(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &userapi.ListUsersRequest{}
	if q.Has("deactivated") && q.Bool("deactivated") { // otherwise only active ones
		req.Deactivated = nil
	} else {
		req.Deactivated = new(bool)
	}
	return s.list(r, q, req)
}

// listUsersV3 is GET /v3/users: without deactivated it lists both.
func (s *Server) listUsersV3(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	return s.list(r, q, &userapi.ListUsersRequest{Deactivated: optional(q, "deactivated")})
}

func (s *Server) list(r *matrixhttp.Request, q *matrixhttp.Query, req *userapi.ListUsersRequest) (any, error) {
	req.From, req.Limit = page(q, 100)
	req.Text, req.UserID = q.String("name"), q.String("user_id")
	req.Order = q.String("order_by")
	req.Backwards = q.Enum("dir", "f", "f", "b") == "b"
	if q.Has("guests") && !q.Bool("guests") {
		req.Guests = new(bool)
	}
	req.Admins = optional(q, "admins")
	if q.Has("approved") && !q.Bool("approved") {
		req.Approved = new(bool)
	}
	if q.Has("locked") && !q.Bool("locked") || !q.Has("locked") {
		req.Locked = new(bool)
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	found, err := userapi.ListUsers.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	users := make([]map[string]any, len(found.Users))
	for i, u := range found.Users {
		users[i] = map[string]any{
			"name": u.UserID, "is_guest": u.Guest, "admin": u.Admin, "user_type": nil, "deactivated": u.Deactivated,
			"erased": u.Erased, "shadow_banned": u.ShadowBanned, "suspended": u.Suspended, "locked": u.Locked, "approved": u.Approved,
			"displayname": orNull(u.DisplayName), "avatar_url": orNull(u.AvatarURL), "creation_ts": u.CreatedTS,
			"last_seen_ts": orNull(u.LastSeenTS),
		}
	}
	out := map[string]any{"users": users, "total": found.Total}
	if next := req.From + len(users); int64(next) < found.Total && len(users) > 0 {
		out["next_token"] = strconv.Itoa(next)
	}
	return out, nil
}

// orNull is null for a zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// getUser is GET /v2/users/{userId}. Here creation_ts is in seconds.
func (s *Server) getUser(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	return s.describe(r, u)
}

func (s *Server) describe(r *matrixhttp.Request, u *userapi.User) (any, error) {
	name := &userapi.UserRequest{UserID: u.UserID}
	profile, err := userapi.GetProfile.Do(r.Context(), s.Bus, name)
	if errors.Is(err, merr.NotFound("")) { // of a deactivated account
		profile, err = &userapi.Profile{}, nil
	}
	if err != nil {
		return nil, err
	}
	addresses, err := userapi.ThreePIDs.Do(r.Context(), s.Bus, name)
	if err != nil {
		return nil, err
	}
	devices, err := userapi.Devices.Do(r.Context(), s.Bus, name)
	if err != nil {
		return nil, err
	}
	var seen int64
	for _, d := range devices.Devices {
		seen = max(seen, d.LastSeenTS)
	}
	ids, err := userapi.ExternalIDs.Do(r.Context(), s.Bus, name)
	if err != nil {
		return nil, err
	}
	external := []map[string]string{}
	for _, id := range ids.IDs {
		external = append(external, map[string]string{"auth_provider": id.Provider, "external_id": id.Subject})
	}
	if addresses.ThreePIDs == nil {
		addresses.ThreePIDs = []userapi.ThreePID{}
	}
	return map[string]any{
		"name": u.UserID, "displayname": profile.Fields["displayname"], "avatar_url": profile.Fields["avatar_url"],
		"threepids": addresses.ThreePIDs, "external_ids": external, "is_guest": u.Guest, "admin": u.Admin,
		"deactivated": u.Deactivated, "erased": u.Erased, "shadow_banned": u.ShadowBanned, "suspended": u.Suspended,
		"locked": u.Locked, "approved": u.Approved, "user_type": nil, "creation_ts": u.CreatedTS / 1000,
		"last_seen_ts": orNull(seen), "appservice_id": nil, "consent_server_notice_sent": nil, "consent_version": nil, "consent_ts": nil,
		"role": u.Role,
	}, nil
}

type putUser struct {
	Password      *string             `json:"password"`
	LogoutDevices *bool               `json:"logout_devices"`
	DisplayName   *string             `json:"displayname"`
	AvatarURL     *string             `json:"avatar_url"`
	ThreePIDs     *[]userapi.ThreePID `json:"threepids"`
	Admin         *bool               `json:"admin"`
	Deactivated   *bool               `json:"deactivated"`
	Erase         bool                `json:"erase"`
	Locked        *bool               `json:"locked"`
	Approved      *bool               `json:"approved"`
}

// putUser is PUT /v2/users/{userId}: it makes an account, 201, or changes one, 200. Moderators may
// lock and deactivate; the rest takes an administrator.
func (s *Server) putUser(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[putUser](r)
	if err != nil {
		return nil, err
	}
	id, err := s.localUser(r)
	if err != nil {
		return nil, err
	}
	only := putUser{Locked: req.Locked, Deactivated: req.Deactivated, Erase: req.Erase}
	if *req != only && r.Identity.Role != userapi.RoleAdmin {
		return nil, merr.Forbidden("Only an administrator may do this")
	}
	u, err := userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: id})
	status := http.StatusOK
	switch {
	case errors.Is(err, merr.NotFound("")):
		if r.Identity.Role != userapi.RoleAdmin {
			return nil, merr.Forbidden("Only an administrator may make accounts")
		}
		if u, err = s.create(r, id, req); err != nil {
			return nil, err
		}
		status = http.StatusCreated
	case err != nil:
		return nil, err
	default:
		if u, err = s.modify(r, u, req); err != nil {
			return nil, err
		}
	}
	body, err := s.describe(r, u)
	return matrixhttp.Response{Status: status, Body: body}, err
}

func (s *Server) create(r *matrixhttp.Request, id string, req *putUser) (*userapi.User, error) {
	if err := s.record(r, "user.create", id, "", nil, map[string]any{"admin": req.Admin != nil && *req.Admin}); err != nil {
		return nil, err
	}
	register := &userapi.RegisterRequest{
		Username: localpart(id), InhibitLogin: true, Admin: req.Admin != nil && *req.Admin, Unapproved: req.Approved != nil && !*req.Approved,
	}
	if req.Password != nil {
		register.Password = *req.Password
	}
	if req.DisplayName != nil {
		register.DisplayName = *req.DisplayName
	}
	if req.ThreePIDs != nil {
		register.ThreePIDs = *req.ThreePIDs
	}
	if _, err := userapi.Register.Do(r.Context(), s.Bus, register); err != nil {
		return nil, err
	}
	if req.AvatarURL != nil {
		if err := s.setField(r, id, "avatar_url", *req.AvatarURL); err != nil {
			return nil, err
		}
	}
	return s.restrictTo(r, id, &userapi.RestrictRequest{UserID: id, Locked: req.Locked})
}

func (s *Server) restrictTo(r *matrixhttp.Request, id string, req *userapi.RestrictRequest) (*userapi.User, error) {
	if req.Locked == nil && req.Suspended == nil && req.ShadowBanned == nil && req.Role == nil {
		return userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: id})
	}
	return s.apply(r, req)
}

// apply changes restrictions, with effect for the next request.
func (s *Server) apply(r *matrixhttp.Request, req *userapi.RestrictRequest) (*userapi.User, error) {
	now, err := userapi.Restrict.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	s.Forget(&now.Revoked)
	return &now.User, nil
}

func (s *Server) modify(r *matrixhttp.Request, u *userapi.User, req *putUser) (*userapi.User, error) {
	takesAway := req.Locked != nil && *req.Locked || req.Deactivated != nil && *req.Deactivated || req.Admin != nil && !*req.Admin
	if takesAway {
		if err := above(r, u); err != nil {
			return nil, err
		}
	}
	changed := *req
	changed.Password = nil // the log keeps no passwords
	if err := s.record(r, "user.modify", u.UserID, "", u, changed); err != nil {
		return nil, err
	}
	for _, step := range []func(*matrixhttp.Request, *userapi.User, *putUser) error{s.modifyProfile, s.modifyLogin, s.modifyAddresses} {
		if err := step(r, u, req); err != nil {
			return nil, err
		}
	}
	if req.Deactivated != nil && *req.Deactivated && !u.Deactivated {
		if err := s.end(r, u.UserID, req.Erase); err != nil {
			return nil, err
		}
		return userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	}
	if u.Deactivated {
		return u, nil
	}
	restrict := &userapi.RestrictRequest{UserID: u.UserID, Locked: req.Locked}
	if req.Admin != nil && *req.Admin != u.Admin {
		role := userapi.RoleNone
		if *req.Admin {
			role = userapi.RoleAdmin
		}
		restrict.Role = &role
	}
	return s.restrictTo(r, u.UserID, restrict)
}

func (s *Server) modifyProfile(r *matrixhttp.Request, u *userapi.User, req *putUser) error {
	for field, value := range map[string]*string{"displayname": req.DisplayName, "avatar_url": req.AvatarURL} {
		if value == nil {
			continue
		}
		if err := s.setField(r, u.UserID, field, *value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) setField(r *matrixhttp.Request, id, field, value string) error {
	var raw json.RawMessage
	if value != "" {
		raw, _ = json.Marshal(value) // a string
	}
	_, err := userapi.SetProfile.Do(r.Context(), s.Bus, &userapi.SetProfileRequest{UserID: id, Key: field, Value: raw})
	return err
}

func (s *Server) modifyLogin(r *matrixhttp.Request, u *userapi.User, req *putUser) error {
	if req.Approved != nil && *req.Approved && !u.Approved {
		if _, err := userapi.Approve.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID}); err != nil {
			return err
		}
	}
	if req.Password == nil {
		return nil
	}
	gone, err := userapi.SetPassword.Do(r.Context(), s.Bus, &userapi.SetPasswordRequest{
		UserID: u.UserID, Password: *req.Password, LogoutDevices: req.LogoutDevices == nil || *req.LogoutDevices,
	})
	if err != nil {
		return err
	}
	s.Forget(gone)
	return nil
}

// modifyAddresses makes the third-party identifiers those of the request.
func (s *Server) modifyAddresses(r *matrixhttp.Request, u *userapi.User, req *putUser) error {
	if req.ThreePIDs == nil {
		return nil
	}
	have, err := userapi.ThreePIDs.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	if err != nil {
		return err
	}
	wanted := map[userapi.ThreePIDName]bool{}
	for _, p := range *req.ThreePIDs {
		wanted[userapi.ThreePIDName{Medium: p.Medium, Address: p.Address}] = true
		p.ValidatedTS = s.Now().UnixMilli()
		if _, err := userapi.AddThreePID.Do(r.Context(), s.Bus, &userapi.AddThreePIDRequest{UserID: u.UserID, ThreePID: p}); err != nil {
			return err
		}
	}
	for _, p := range have.ThreePIDs {
		if wanted[userapi.ThreePIDName{Medium: p.Medium, Address: p.Address}] {
			continue
		}
		if _, err := userapi.DeleteThreePID.Do(r.Context(), s.Bus, &userapi.AddThreePIDRequest{UserID: u.UserID, ThreePID: p}); err != nil {
			return err
		}
	}
	return nil
}
