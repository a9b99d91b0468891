package clientapi

import (
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// threePIDs is GET /account/3pid.
func (s *Server) threePIDs(r *matrixhttp.Request) (any, error) {
	list, err := userapi.ThreePIDs.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return map[string]any{"threepids": append([]userapi.ThreePID{}, list.ThreePIDs...)}, nil
}

type addThreePIDRequest struct {
	Sid          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
	// Old is where the deprecated POST /account/3pid has the same.
	Old *validationProof `json:"three_pid_creds"`
}

// addThreePID is POST /account/3pid/add and POST /account/3pid. Both ask for the
// password: who has an address of an account can take it over by a password reset, so
// an access token alone must not be enough.
func (s *Server) addThreePID(r *matrixhttp.Request) (any, error) {
	req, auth, err := decodeConfirmed[addThreePIDRequest](s, r)
	if err != nil {
		return nil, err
	}
	if req.Old != nil {
		req.Sid, req.ClientSecret = req.Old.Sid, req.Old.ClientSecret
	}
	if req.Sid == "" {
		return nil, merr.MissingParam("sid")
	}
	if req.ClientSecret == "" {
		return nil, merr.MissingParam("client_secret")
	}
	if ask, err := s.confirm(r, auth); err != nil || ask != nil {
		return ask, err
	}
	v, err := userapi.Validated.Do(r.Context(), s.bus, &userapi.ValidatedRequest{
		Purpose: userapi.ForAccount, Sid: req.Sid, ClientSecret: req.ClientSecret, Consume: true,
	})
	var e *merr.Error
	if errors.As(err, &e) && (e.Code == "M_SESSION_NOT_VALIDATED" || e.Code == "M_NO_VALID_SESSION") {
		return nil, merr.New(http.StatusForbidden, "M_THREEPID_AUTH_FAILED", "The address has not been confirmed")
	}
	if err != nil {
		return nil, err
	}
	_, err = userapi.AddThreePID.Do(r.Context(), s.bus, &userapi.AddThreePIDRequest{
		UserID: r.Identity.UserID, ThreePID: userapi.ThreePID{Medium: v.Medium, Address: v.Address, ValidatedTS: v.ValidatedTS},
	})
	return nil, err
}

type threePIDRequest struct {
	Medium  string `json:"medium"`
	Address string `json:"address"`
	// IDServer is where it was bound; empty: wherever that was.
	IDServer string `json:"id_server"`
}

func namedThreePID(r *matrixhttp.Request) (*threePIDRequest, error) {
	req, err := matrixhttp.Decode[threePIDRequest](r)
	switch {
	case err != nil:
		return nil, err
	case req.Medium == "":
		return nil, merr.MissingParam("medium")
	case req.Address == "":
		return nil, merr.MissingParam("address")
	case req.Medium != "email" && req.Medium != "msisdn":
		return nil, merr.InvalidParam("Unknown medium")
	}
	return req, nil
}

// deleteThreePID is POST /account/3pid/delete.
func (s *Server) deleteThreePID(r *matrixhttp.Request) (any, error) {
	req, err := namedThreePID(r)
	if err != nil {
		return nil, err
	}
	if req.Medium == "email" { // nobody has any of the other kind
		_, err = userapi.DeleteThreePID.Do(r.Context(), s.bus, &userapi.AddThreePIDRequest{
			UserID: r.Identity.UserID, ThreePID: userapi.ThreePID{Medium: req.Medium, Address: req.Address},
		})
	}
	if err != nil {
		return nil, err
	}
	return s.unbindFor(r, req)
}

// unbindThreePID is POST /account/3pid/unbind.
func (s *Server) unbindThreePID(r *matrixhttp.Request) (any, error) {
	req, err := namedThreePID(r)
	if err != nil {
		return nil, err
	}
	return s.unbindFor(r, req)
}
