package clientapi

import (
	"crypto/sha256"
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// userOrNobody authenticates a request that carries a token and lets others in as nobody.
func (s *Server) userOrNobody(r *matrixhttp.Request) error {
	if bearer(r) == "" {
		return nil
	}
	return s.user(r)
}

func resetOperation() [sha256.Size]byte { return operationOf("password reset") }

// resetPassword is POST /account/password without an access token: who has confirmed
// an e-mail address of an account sets its password.
func (s *Server) resetPassword(r *matrixhttp.Request) (any, error) {
	if s.mail == nil {
		return nil, merr.MissingToken()
	}
	req, err := matrixhttp.Decode[setPasswordRequest](r)
	if err != nil {
		return nil, err
	}
	var session *uiaSession
	if req.Auth != nil {
		session = s.interactions.find(req.Auth.Session, resetOperation())
	}
	if session == nil {
		if err := s.limits.register.take(address(r)); err != nil {
			return nil, err
		}
		session = s.interactions.begin(resetOperation(), [][]string{{stageEmail}})
	} else if err := s.limits.session.take(session.id); err != nil {
		return nil, err
	}
	if req.NewPassword != "" {
		if err := s.checkNewPassword(&req.NewPassword); err != nil {
			return nil, err
		}
	}
	if ask, err := s.interact(r, session, req.Auth); ask != nil || err != nil {
		return ask, err
	}
	if req.NewPassword == "" {
		return nil, merr.MissingParam("new_password")
	}
	if !s.interactions.spend(session) {
		return nil, merr.Forbidden("This authentication was used already")
	}
	return nil, s.setForgotten(r, session, req)
}

func (s *Server) setForgotten(r *matrixhttp.Request, session *uiaSession, req *setPasswordRequest) error {
	confirmed := session.threePIDs[0]
	owner, err := userapi.ThreePIDOwner.Do(r.Context(), s.bus, &userapi.ThreePIDName{Medium: confirmed.Medium, Address: confirmed.Address})
	if errors.Is(err, merr.NotFound("")) {
		return merr.New(http.StatusBadRequest, "M_THREEPID_NOT_FOUND", "The address belongs to no account")
	}
	if err != nil {
		return err
	}
	revoked, err := userapi.SetPassword.Do(r.Context(), s.bus, &userapi.SetPasswordRequest{
		UserID: owner.UserID, Password: req.NewPassword, LogoutDevices: req.LogoutDevices == nil || *req.LogoutDevices,
	})
	if err != nil {
		return err
	}
	r.Identity.UserID = owner.UserID
	s.tokens.revoke(revoked)
	return nil
}
