package clientapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type setCrossSigningRequest struct {
	Master      json.RawMessage `json:"master_key"`
	SelfSigning json.RawMessage `json:"self_signing_key"`
	UserSigning json.RawMessage `json:"user_signing_key"`
}

// setCrossSigning is POST /keys/device_signing/upload. The user is asked for the
// password only if there are other keys already.
func (s *Server) setCrossSigning(r *matrixhttp.Request) (any, error) {
	req, auth, err := decodeConfirmed[setCrossSigningRequest](s, r)
	if err != nil {
		return nil, err
	}
	keys := &userapi.SetCrossSigningRequest{
		UserID: r.Identity.UserID, Master: req.Master, SelfSigning: req.SelfSigning, UserSigning: req.UserSigning,
	}
	answer, err := userapi.SetCrossSigning.Do(r.Context(), s.bus, keys)
	if err != nil || !answer.NeedsAuthorization {
		return nil, err
	}
	free, err := s.mayReplaceKeys(r)
	if err != nil {
		return nil, err
	}
	if !free {
		if ask, err := s.confirm(r, auth); err != nil || ask != nil {
			return ask, err
		}
	}
	keys.Authorized = true
	_, err = userapi.SetCrossSigning.Do(r.Context(), s.bus, keys)
	return nil, err
}

// mayReplaceKeys reports whether an administrator lets the user replace keys without a password now.
func (s *Server) mayReplaceKeys(r *matrixhttp.Request) (bool, error) {
	set, err := userapi.GetSettings.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return false, err
	}
	var until int64
	value, ok := set.Values[userapi.SettingCrossSigning]
	if !ok || json.Unmarshal(value, &until) != nil {
		return false, nil
	}
	return s.now().UnixMilli() < until, nil
}

// uploadSignatures is POST /keys/signatures/upload.
func (s *Server) uploadSignatures(r *matrixhttp.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	var signed map[string]map[string]json.RawMessage
	if json.Unmarshal(body, &signed) != nil {
		return nil, merr.BadJSON("The body must be a map from user id to a map from key id to an object")
	}
	answer, err := userapi.UploadSignatures.Do(r.Context(), s.bus, &userapi.UploadSignaturesRequest{
		UserID: r.Identity.UserID, Signed: signed,
	})
	if err != nil {
		return nil, err
	}
	out := appendObject([]byte(`{"failures":`), answer.Failures, func(dst []byte, keys map[string]*merr.Error) []byte {
		return appendObject(dst, keys, appendFailure)
	})
	return matrixhttp.Raw(append(out, '}')), nil
}
