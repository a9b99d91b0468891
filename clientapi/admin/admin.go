// Package admin is the admin API: what moderation tools and dashboards call, under the paths
// and in the shapes of Synapse (/_synapse/admin), and what is ours under /_hearth/admin/v1.
//
// routes.go is the table. A user needs a role: read to see, moderate to act on users, rooms,
// media and reports, admin for everything else. Whoever has none gets 403 M_FORBIDDEN from
// every route. Every action is written to the audit log before it is done, and so is the
// reading of what is private to a user.
package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"hearth/clientapi/jobs"
	"hearth/clientapi/media"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Deps is what the package needs of the rest of clientapi.
type Deps struct {
	Bus                 *bus.Bus
	ServerName, Version string
	Now                 func() time.Time
	// User finds out who sends a request.
	User matrixhttp.Auth
	// Forget makes this process ask again whose access tokens these are.
	Forget func(*userapi.Revoked)
	// Jobs does long work; asked for when it is needed.
	Jobs func() *jobs.Engine
	// Media is the content repository; nil: there is none here.
	Media *media.Server
	// Overwrite makes sure that what this process has deleted is in none of its files; nil: it keeps nothing.
	Overwrite func(ctx context.Context) error
	// Pushers lists the pushers of a user.
	Pushers func(userID string) []any
	// Notice sends a server notice.
	Notice func(r *matrixhttp.Request, userID, txnID string, content json.RawMessage) (eventID string, err error)
}

// Server answers the admin API.
type Server struct {
	Deps
}

// New returns the API; its routes are for the caller to serve.
func New(d Deps) *Server { return &Server{Deps: d} }

// role is the matrixhttp.Auth of routes for users with a role.
func (s *Server) role(wanted string) matrixhttp.Auth {
	return func(r *matrixhttp.Request) error {
		if err := s.User(r); err != nil {
			return err
		}
		if !userapi.Includes(r.Identity.Role, wanted) {
			return merr.Forbidden("You are not a server admin")
		}
		return nil
	}
}

// record writes an action to the audit log. before and after may be nil.
func (s *Server) record(r *matrixhttp.Request, action, target, reason string, before, after any) error {
	e := &userapi.AuditEntry{Actor: r.Identity.UserID, Action: action, Target: target, Reason: reason}
	for _, part := range []struct {
		from any
		to   *json.RawMessage
	}{{before, &e.Before}, {after, &e.After}} {
		if part.from == nil {
			continue
		}
		raw, err := json.Marshal(part.from)
		if err != nil {
			return merr.Internal(err)
		}
		*part.to = raw
	}
	_, err := userapi.RecordAction.Do(r.Context(), s.Bus, e)
	return err
}

// userID reads a user id from the path.
func userID(r *matrixhttp.Request) (string, error) {
	id := r.Param("userId")
	if _, _, err := pdu.ParseUserID(id); err != nil {
		return "", merr.InvalidParam("Invalid user id")
	}
	return id, nil
}

// localUser reads the id of a user of this server from the path, who need not exist.
func (s *Server) localUser(r *matrixhttp.Request) (string, error) {
	id, err := userID(r)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(id, ":"+s.ServerName) {
		return "", merr.New(http.StatusBadRequest, "M_UNKNOWN", "Only users of this server can be administered")
	}
	return id, nil
}

// account returns the account that the path names, 404 M_NOT_FOUND if there is none.
func (s *Server) account(r *matrixhttp.Request) (*userapi.User, error) {
	id, err := s.localUser(r)
	if err != nil {
		return nil, err
	}
	return userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: id})
}

// above refuses an action on an account whose role is not below that of whoever asks: a
// moderator does not act on administrators, and nobody on themself where that would lock them out.
func above(r *matrixhttp.Request, u *userapi.User) error {
	if u.UserID == r.Identity.UserID {
		return merr.New(http.StatusBadRequest, "M_UNKNOWN", "You may not do this to yourself")
	}
	if u.Role != userapi.RoleNone && r.Identity.Role != userapi.RoleAdmin {
		return merr.Forbidden("Only an administrator may do this to an account with a role")
	}
	return nil
}

// page reads from and limit of a query.
func page(q *matrixhttp.Query, otherwise int64) (from, limit int) {
	return int(q.Int("from", 0, 0, 1<<40)), int(q.Int("limit", otherwise, 1, 10_000))
}

// optional is a bool of a query that may be missing.
func optional(q *matrixhttp.Query, name string) *bool {
	if !q.Has(name) {
		return nil
	}
	v := q.Bool(name)
	return &v
}
