package clientapi

import (
	"crypto/sha256"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

func guestForbidden(text string) *merr.Error {
	return merr.New(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "%s", text)
}

// registerGuest is POST /register?kind=guest. What the body says of a name, a password
// and a device has no meaning for a guest.
func (s *Server) registerGuest(r *matrixhttp.Request) (any, error) {
	if !s.options.Registration.Guests {
		return nil, guestForbidden("Guest accounts are not offered")
	}
	req, err := matrixhttp.Decode[registerRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.register.take(address(r)); err != nil {
		return nil, err
	}
	session, err := userapi.Register.Do(r.Context(), s.bus, &userapi.RegisterRequest{
		Guest: true, DeviceDisplayName: req.DisplayName, RefreshToken: req.RefreshToken,
	})
	if err != nil {
		return nil, err
	}
	r.Identity.UserID = session.UserID
	return s.session(session), nil
}

// guestToUpgrade reports whether a registration is that of a guest who becomes a full
// user under the same name (client-server API, "Guest Access").
func (s *Server) guestToUpgrade(r *matrixhttp.Request, req *registerRequest) (bool, error) {
	if req.GuestToken == "" {
		return false, nil
	}
	id, err := s.tokens.identity(r.Context(), sha256.Sum256([]byte(req.GuestToken)))
	if err != nil {
		return false, err
	}
	if !id.Guest {
		return false, merr.Forbidden("The token is not that of a guest")
	}
	if req.Username == "" {
		return false, merr.MissingParam("username")
	}
	if id.UserID != "@"+req.Username+":"+s.serverName {
		return false, merr.InvalidParam("A guest keeps the name")
	}
	return true, nil
}
