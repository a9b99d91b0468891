package admin

import (
	"errors"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

func localpart(id string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id, "@"), ":")
	return name
}

// usernameAvailable is GET /v1/username_available.
func (s *Server) usernameAvailable(r *matrixhttp.Request) (any, error) {
	name := r.Query().String("username")
	if name == "" {
		return nil, merr.MissingParam("username")
	}
	if _, err := userapi.CheckUsername.Do(r.Context(), s.Bus, &userapi.UsernameRequest{Username: name}); err != nil {
		return nil, err
	}
	return map[string]bool{"available": true}, nil
}

// deactivate is POST /v1/deactivate/{userId}.
func (s *Server) deactivate(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Erase  bool   `json:"erase"`
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := above(r, u); err != nil {
		return nil, err
	}
	if err := s.record(r, "user.deactivate", u.UserID, req.Reason, u, map[string]bool{"erase": req.Erase}); err != nil {
		return nil, err
	}
	if err := s.end(r, u.UserID, req.Erase); err != nil {
		return nil, err
	}
	return map[string]string{"id_server_unbind_result": "success"}, nil
}

// end ends an account and takes the user out of all rooms.
func (s *Server) end(r *matrixhttp.Request, id string, erase bool) error {
	gone, err := userapi.Deactivate.Do(r.Context(), s.Bus, &userapi.DeactivateRequest{UserID: id, Erase: erase})
	if err != nil {
		return err
	}
	s.Forget(gone)
	return s.leaveAll(r, id)
}

// leaveAll takes a user out of all rooms. What fails stays: the account is over all the same.
func (s *Server) leaveAll(r *matrixhttp.Request, id string) error {
	return s.eachRoom(r, id, []string{"join", "invite", "knock"}, func(m *roomapi.Membership) error {
		_, err := roomapi.Leave.Do(r.Context(), s.Bus, &roomapi.MembershipRequest{RoomID: m.RoomID, Sender: id, Target: id})
		if e := merr.From(err); e != nil && e.Status < 500 {
			return nil
		}
		return err
	})
}

// eachRoom calls f for the rooms of a user.
func (s *Server) eachRoom(r *matrixhttp.Request, id string, memberships []string, f func(m *roomapi.Membership) error) error {
	for after := ""; ; {
		list, err := roomapi.Memberships.Do(r.Context(), s.Bus, &roomapi.MembershipsRequest{UserID: id, Memberships: memberships, After: after})
		if err != nil {
			return err
		}
		for i := range list.Rooms {
			if err := f(&list.Rooms[i]); err != nil {
				return err
			}
			after = list.Rooms[i].RoomID
		}
		if !list.More || len(list.Rooms) == 0 {
			return nil
		}
	}
}

// restrict records and sets one restriction of the account that the path names.
func (s *Server) restrict(r *matrixhttp.Request, action, reason string, after any, req *userapi.RestrictRequest) (*userapi.User, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := above(r, u); err != nil {
		return nil, err
	}
	if err := s.record(r, action, u.UserID, reason, u.Restrictions, after); err != nil {
		return nil, err
	}
	req.UserID = u.UserID
	return s.apply(r, req)
}

// suspend is PUT /v1/suspend/{userId}.
func (s *Server) suspend(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Suspend *bool  `json:"suspend"`
		Reason  string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Suspend == nil {
		return nil, merr.MissingParam("suspend")
	}
	u, err := s.restrict(r, "user.suspend", req.Reason, *req.Suspend, &userapi.RestrictRequest{Suspended: req.Suspend})
	if err != nil {
		return nil, err
	}
	return map[string]bool{"user_" + u.UserID + "_suspended": u.Suspended}, nil
}

// lock is PUT /_hearth/admin/v1/users/{userId}/lock.
func (s *Server) lock(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Locked *bool  `json:"locked"`
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Locked == nil {
		return nil, merr.MissingParam("locked")
	}
	u, err := s.restrict(r, "user.lock", req.Reason, *req.Locked, &userapi.RestrictRequest{Locked: req.Locked})
	if err != nil {
		return nil, err
	}
	return map[string]bool{"locked": u.Locked}, nil
}

// shadowBan is POST, endShadowBan DELETE /v1/users/{userId}/shadow_ban.
func (s *Server) shadowBan(r *matrixhttp.Request) (any, error)    { return s.setShadowBan(r, true) }
func (s *Server) endShadowBan(r *matrixhttp.Request) (any, error) { return s.setShadowBan(r, false) }

func (s *Server) setShadowBan(r *matrixhttp.Request, on bool) (any, error) {
	_, err := s.restrict(r, "user.shadow_ban", "", on, &userapi.RestrictRequest{ShadowBanned: &on})
	return nil, err
}

// isAdmin is GET /v1/users/{userId}/admin.
func (s *Server) isAdmin(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"admin": u.Admin}, nil
}

// setAdmin is PUT /v1/users/{userId}/admin.
func (s *Server) setAdmin(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Admin *bool `json:"admin"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Admin == nil {
		return nil, merr.MissingParam("admin")
	}
	role := userapi.RoleNone
	if *req.Admin {
		role = userapi.RoleAdmin
	}
	_, err = s.restrict(r, "user.role", "", role, &userapi.RestrictRequest{Role: &role})
	return nil, err
}

// setRole is PUT /_hearth/admin/v1/users/{userId}/role.
func (s *Server) setRole(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Role   *string `json:"role"`
		Reason string  `json:"reason"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Role == nil {
		return nil, merr.MissingParam("role")
	}
	u, err := s.restrict(r, "user.role", req.Reason, *req.Role, &userapi.RestrictRequest{Role: req.Role})
	if err != nil {
		return nil, err
	}
	return map[string]string{"role": u.Role}, nil
}

// resetPassword is POST /v1/reset_password/{userId}.
func (s *Server) resetPassword(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		NewPassword   string `json:"new_password"`
		LogoutDevices *bool  `json:"logout_devices"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.NewPassword == "" {
		return nil, merr.MissingParam("new_password")
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "user.reset_password", u.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	gone, err := userapi.SetPassword.Do(r.Context(), s.Bus, &userapi.SetPasswordRequest{
		UserID: u.UserID, Password: req.NewPassword, LogoutDevices: req.LogoutDevices == nil || *req.LogoutDevices,
	})
	if err != nil {
		return nil, err
	}
	s.Forget(gone)
	return nil, nil
}

// loginAs is POST /v1/users/{userId}/login: an access token of another user, in the audit log.
func (s *Server) loginAs(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if u.UserID == r.Identity.UserID {
		return nil, merr.New(400, "M_UNKNOWN", "You are logged in already")
	}
	if err := s.record(r, "user.login_as", u.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	session, err := userapi.LoginAs.Do(r.Context(), s.Bus, &userapi.LoginAsRequest{UserID: u.UserID, DeviceDisplayName: "Administrator"})
	if err != nil {
		return nil, err
	}
	return map[string]string{"access_token": session.Token}, nil
}

// whois is GET /v1/whois/{userId}.
func (s *Server) whois(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "user.whois", u.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	list, err := userapi.Devices.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	if err != nil {
		return nil, err
	}
	devices := map[string]any{}
	for _, d := range list.Devices {
		connection := map[string]any{"ip": d.LastSeenIP, "last_seen": d.LastSeenTS, "user_agent": ""}
		devices[d.DeviceID] = map[string]any{"sessions": []any{map[string]any{"connections": []any{connection}}}}
	}
	return map[string]any{"user_id": u.UserID, "devices": devices}, nil
}

// joinedRooms is GET /v1/users/{userId}/joined_rooms.
func (s *Server) joinedRooms(r *matrixhttp.Request) (any, error) {
	id, err := userID(r) // of other servers as well
	if err != nil {
		return nil, err
	}
	rooms := []string{}
	err = s.eachRoom(r, id, []string{"join"}, func(m *roomapi.Membership) error {
		rooms = append(rooms, m.RoomID)
		return nil
	})
	return map[string]any{"joined_rooms": rooms, "total": len(rooms)}, err
}

// memberships is GET /v1/users/{userId}/memberships.
func (s *Server) memberships(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	rooms := map[string]string{}
	err = s.eachRoom(r, u.UserID, nil, func(m *roomapi.Membership) error {
		rooms[m.RoomID] = m.Membership
		return nil
	})
	return map[string]any{"memberships": rooms}, err
}

// accountData is GET /v1/users/{userId}/accountdata. It is private, so the reading is recorded.
func (s *Server) accountData(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "user.read_account_data", u.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	all, err := userapi.AllAccountData.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	if err != nil {
		return nil, err
	}
	return map[string]any{"account_data": map[string]any{"global": all.Global, "rooms": all.Rooms}}, nil
}

// threePIDOwner is GET /v1/threepid/{medium}/users/{address}.
func (s *Server) threePIDOwner(r *matrixhttp.Request) (any, error) {
	owner, err := userapi.ThreePIDOwner.Do(r.Context(), s.Bus, &userapi.ThreePIDName{Medium: r.Param("medium"), Address: r.Param("address")})
	if errors.Is(err, merr.NotFound("")) {
		return nil, merr.NotFound("User not found")
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"user_id": owner.UserID}, nil
}
