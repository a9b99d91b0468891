package clientapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hearth/clientapi/appservice"
	"hearth/clientapi/userapi"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// masquerade authenticates a request of an application service as the user that it
// names, or as its sender (Application Service API, "Identity assertion").
func (s *Server) masquerade(r *matrixhttp.Request, service *appservice.Registration) error {
	query := r.Query()
	user, device := query.String("user_id"), query.String("device_id")
	if device == "" {
		device = query.String("org.matrix.msc3202.device_id") // its name before v1.17
	}
	if err := query.Err(); err != nil {
		return err
	}
	if user == "" {
		user = service.Sender
	}
	if _, _, err := pdu.ParseUserID(user); err != nil {
		return merr.InvalidParam("Invalid user_id")
	}
	if !service.HasUser(user) {
		return merr.Forbidden("The user is not in a namespace of the application service")
	}
	if err := s.ghosts.mustExist(r.Context(), s, service, user, device); err != nil {
		return err
	}
	r.Identity = matrixhttp.Identity{UserID: user, DeviceID: device, Service: service.ID}
	return nil
}

// service authenticates a request that only application services may make.
func (s *Server) service(r *matrixhttp.Request) error {
	if err := s.user(r); err != nil {
		return err
	}
	if r.Identity.Service == "" {
		return merr.Forbidden("Only application services may do this")
	}
	return nil
}

// asking returns the service that sends a request, nil if it is somebody else.
func (s *Server) asking(r *matrixhttp.Request) *appservice.Registration {
	if r.Identity.Service == "" {
		return nil
	}
	return s.options.Appservices.ByID(r.Identity.Service)
}

const (
	maxGhosts = 20_000
	ghostTTL  = 5 * time.Second
)

// ghosts remembers for a short time which users and devices of services exist.
type ghosts struct {
	now   func() time.Time
	known *lru.Cache[ghost, time.Time]
}

// ghost is a user, or a device of one.
type ghost struct{ user, device string }

func newGhosts(now func() time.Time) *ghosts {
	return &ghosts{now, lru.New[ghost, time.Time](maxGhosts, nil)}
}

// mustExist refuses users that were not registered and devices that were not made.
// The sender of a service is registered when it first acts.
func (g *ghosts) mustExist(ctx context.Context, s *Server, service *appservice.Registration, user, device string) error {
	if !g.has(ghost{user, ""}) {
		if err := s.mustHaveUser(ctx, service, user); err != nil {
			return err
		}
		g.known.Put(ghost{user, ""}, g.now().Add(ghostTTL))
	}
	if device == "" || g.has(ghost{user, device}) {
		return nil
	}
	_, err := userapi.GetDevice.Do(ctx, s.bus, &userapi.DeviceRequest{UserID: user, DeviceID: device})
	if errors.Is(err, merr.NotFound("")) {
		return merr.New(http.StatusBadRequest, "M_UNKNOWN_DEVICE", "The user has no such device")
	}
	if err == nil {
		g.known.Put(ghost{user, device}, g.now().Add(ghostTTL))
	}
	return err
}

func (g *ghosts) has(id ghost) bool {
	until, ok := g.known.Get(id)
	left := until.Sub(g.now())
	return ok && left > 0 && left <= ghostTTL
}

// forget makes the user be looked up anew, after a device was deleted.
func (g *ghosts) forget(user string) {
	g.known.DeleteFunc(func(id ghost, _ time.Time) bool { return id.user == user })
}

func (s *Server) mustHaveUser(ctx context.Context, service *appservice.Registration, user string) error {
	account, err := userapi.GetUser.Do(ctx, s.bus, &userapi.UserRequest{UserID: user})
	switch {
	case err == nil && account.Deactivated:
		return merr.New(http.StatusForbidden, "M_USER_DEACTIVATED", "This account has been deactivated")
	case err == nil || !errors.Is(err, merr.NotFound("")):
		return err
	case user != service.Sender:
		return merr.Forbidden("The application service has not registered this user")
	}
	localpart, _, err := pdu.ParseUserID(user)
	if err != nil {
		return err
	}
	_, err = userapi.Register.Do(ctx, s.bus, &userapi.RegisterRequest{Username: localpart, InhibitLogin: true})
	if errors.Is(err, merr.New(0, "M_USER_IN_USE", "")) { // another request was faster
		return nil
	}
	return err
}
