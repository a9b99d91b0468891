package clientapi

import (
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// restrict refuses what a locked, suspended or shadow-banned user may not do.
func (s *Server) restrict(r *matrixhttp.Request, has userapi.Restrictions) error {
	if has.Locked && !whileLocked[r.Route()] {
		return merr.New(http.StatusUnauthorized, "M_USER_LOCKED", "This account has been locked").With("soft_logout", true)
	}
	if has.Suspended {
		return s.mayWhileSuspended(r)
	}
	return nil
}

// whileLocked are the routes of a locked account ("Account locking").
var whileLocked = map[string]bool{v3New + "/logout": true, v3New + "/logout/all": true}

// v3New is v3 as routes are labelled.
const v3New = "/_matrix/client/v3"

// whileSuspended are the changes that a suspended user may make ("Account suspension"): what
// belongs to reading, to encryption, and to leaving. Prefixes of routes by method.
var whileSuspended = map[string][]string{
	http.MethodPost: {
		v3New + "/logout", v3New + "/delete_devices", v3New + "/account/deactivate", v3New + "/account/password",
		v3New + "/account/3pid/add", v3New + "/account/3pid/email", v3New + "/keys/", unstable + "/keys/", v3New + "/room_keys/",
		v3New + "/rooms/{roomId}/leave", v3New + "/rooms/{roomId}/forget", v3New + "/rooms/{roomId}/receipt",
		v3New + "/rooms/{roomId}/read_markers", v3New + "/user/{userId}/filter", v3New + "/search", v3New + "/user_directory/search",
		v3New + "/publicRooms", v3New + "/pushers/set", "/_matrix/client/v4/sync", unstable + "/org.matrix.simplified_msc3575/sync",
		v3New + "/rooms/{roomId}/report", v3New + "/users/{userId}/report", dehydratedPath,
	},
	http.MethodPut: {
		v3New + "/devices/", v3New + "/sendToDevice/", v3New + "/room_keys/", v3New + "/user/{userId}/account_data/",
		v3New + "/user/{userId}/rooms/{roomId}/account_data/", v3New + "/user/{userId}/rooms/{roomId}/tags/", v3New + "/pushrules/",
		v3New + "/presence/", dehydratedPath,
	},
	http.MethodDelete: {
		v3New + "/devices/", v3New + "/room_keys/", v3New + "/pushrules/", v3New + "/user/{userId}/rooms/{roomId}/tags/",
		dehydratedPath,
	},
}

func (s *Server) mayWhileSuspended(r *matrixhttp.Request) error {
	method, route := r.HTTP.Method, r.Route()
	if method == http.MethodGet || method == http.MethodHead {
		return nil
	}
	for _, prefix := range whileSuspended[method] {
		if strings.HasPrefix(route, prefix) {
			return nil
		}
	}
	switch route {
	case v3New + "/rooms/{roomId}/redact/{eventId}/{txnId}":
		return s.ownEvent(r)
	case v3New + "/rooms/{roomId}/send/{eventType}/{txnId}":
		if s.inNoticeRoom(r) {
			return nil
		}
	}
	return suspended()
}

func suspended() error {
	return merr.New(http.StatusForbidden, "M_USER_SUSPENDED", "You cannot perform this action while suspended.")
}

// ownEvent refuses a redaction of somebody else's event.
func (s *Server) ownEvent(r *matrixhttp.Request) error {
	e, err := roomapi.GetEvent.Do(r.Context(), s.bus, &roomapi.EventRequest{
		RoomID: r.Param("roomId"), UserID: r.Identity.UserID, EventID: r.Param("eventId"),
	})
	if err != nil && merr.From(err).Status >= 500 {
		return err
	}
	if err != nil || e.Sender != r.Identity.UserID {
		return suspended()
	}
	return nil
}

// inNoticeRoom reports whether a message is for those who run the server.
func (s *Server) inNoticeRoom(r *matrixhttp.Request) bool {
	room, err := userapi.NoticeRoom.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	return err == nil && room.RoomID != "" && room.RoomID == r.Param("roomId")
}

// shadowed answers a shadow-banned user's attempt to reach others as if it had worked, after
// about the time that it would have taken. It reports whether it did.
func (s *Server) shadowed(r *matrixhttp.Request) bool {
	if !r.Identity.ShadowBanned {
		return false
	}
	wait := time.NewTimer(2*time.Millisecond + rand.N(20*time.Millisecond))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-r.Context().Done():
	}
	return true
}

// madeUpEvent is an event id that no event has, the same for a repeated request.
func madeUpEvent(r *matrixhttp.Request) string {
	h := hmac.New(sha256.New, madeUpKey)
	for _, s := range []string{r.Identity.UserID, r.Identity.DeviceID, r.HTTP.URL.Path} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return "$" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// madeUpKey keeps others from telling the ids that are made up. It is never written after
// initialisation.
var madeUpKey = func() []byte {
	key := make([]byte, 32)
	_, _ = crand.Read(key) // never fails
	return key
}()

// Endpoints with which an administrator restricts accounts ("Server Administration").

type suspendRequest struct {
	Suspended *bool `json:"suspended"`
}

type lockRequest struct {
	Locked *bool `json:"locked"`
}

// suspension is GET /admin/suspend/{userId}, locking GET /admin/lock/{userId}.
func (s *Server) suspension(r *matrixhttp.Request) (any, error) {
	u, err := s.restrictable(r)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"suspended": u.Suspended}, nil
}

func (s *Server) locking(r *matrixhttp.Request) (any, error) {
	u, err := s.restrictable(r)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"locked": u.Locked}, nil
}

// suspend is PUT /admin/suspend/{userId}.
func (s *Server) suspend(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[suspendRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Suspended == nil {
		return nil, merr.MissingParam("suspended")
	}
	err = s.restrictUser(r, "user.suspend", *req.Suspended, &userapi.RestrictRequest{Suspended: req.Suspended})
	return map[string]bool{"suspended": *req.Suspended}, err
}

// lock is PUT /admin/lock/{userId}.
func (s *Server) lock(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[lockRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Locked == nil {
		return nil, merr.MissingParam("locked")
	}
	err = s.restrictUser(r, "user.lock", *req.Locked, &userapi.RestrictRequest{Locked: req.Locked})
	return map[string]bool{"locked": *req.Locked}, err
}

// restrictUser records the action and does it.
func (s *Server) restrictUser(r *matrixhttp.Request, action string, to bool, req *userapi.RestrictRequest) error {
	u, err := s.restrictable(r)
	if err != nil {
		return err
	}
	req.UserID = u.UserID
	before, after := []byte("false"), []byte("false")
	if action == "user.suspend" && u.Suspended || action == "user.lock" && u.Locked {
		before = []byte("true")
	}
	if to {
		after = []byte("true")
	}
	if _, err := userapi.RecordAction.Do(r.Context(), s.bus, &userapi.AuditEntry{
		Actor: r.Identity.UserID, Action: action, Target: u.UserID, Before: before, After: after,
	}); err != nil {
		return err
	}
	now, err := userapi.Restrict.Do(r.Context(), s.bus, req)
	if err != nil {
		return err
	}
	s.tokens.revoke(&now.Revoked)
	return nil
}

// restrictable returns the account that a request of an administrator is about: 403 for others
// and for accounts of administrators, oneself among them, before anything is said about the
// account; 400 for users of other servers, 404 for those who are not there.
func (s *Server) restrictable(r *matrixhttp.Request) (*userapi.User, error) {
	if err := s.mustHave(r, userapi.RoleModerate); err != nil {
		return nil, err
	}
	id := r.Param("userId")
	if err := userID(id); err != nil {
		return nil, err
	}
	if !s.isLocal(id) {
		return nil, merr.InvalidParam("The user does not belong to this server")
	}
	u, err := userapi.GetUser.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: id})
	if err != nil {
		return nil, err
	}
	if u.Deactivated {
		return nil, merr.NotFound("User not found")
	}
	if u.Role != userapi.RoleNone {
		return nil, merr.Forbidden("The user is an administrator")
	}
	return u, nil
}

// mustHave refuses a user without a role in the admin API.
func (s *Server) mustHave(r *matrixhttp.Request, role string) error {
	if !userapi.Includes(r.Identity.Role, role) {
		return merr.Forbidden("You are not an administrator of this server")
	}
	return nil
}

// whois is GET /admin/whois/{userId}: of oneself, or of anybody for an administrator.
func (s *Server) whois(r *matrixhttp.Request) (any, error) {
	id := r.Param("userId")
	if id != r.Identity.UserID {
		if err := s.mustHave(r, userapi.RoleRead); err != nil {
			return nil, err
		}
		if err := userID(id); err != nil {
			return nil, err
		}
		if !s.isLocal(id) {
			return nil, merr.InvalidParam("The user does not belong to this server")
		}
		// To read somebody's addresses is an action of its own.
		if _, err := userapi.RecordAction.Do(r.Context(), s.bus, &userapi.AuditEntry{
			Actor: r.Identity.UserID, Action: "user.whois", Target: id,
		}); err != nil {
			return nil, err
		}
	}
	if _, err := userapi.GetUser.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: id}); err != nil {
		return nil, err
	}
	list, err := userapi.Devices.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: id})
	if err != nil {
		return nil, err
	}
	devices := make(map[string]any, len(list.Devices))
	for _, d := range list.Devices {
		connections := []any{}
		if d.LastSeenTS != 0 {
			connection := map[string]any{"last_seen": d.LastSeenTS}
			if d.LastSeenIP != "" {
				connection["ip"] = d.LastSeenIP
			}
			connections = append(connections, connection)
		}
		devices[d.DeviceID] = map[string]any{"sessions": []any{map[string]any{"connections": connections}}}
	}
	return map[string]any{"user_id": id, "devices": devices}, nil
}
