package admin

import (
	"encoding/json"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// setting reads a setting of the account that the path names into value, which stays as it is if
// there is none.
func (s *Server) setting(r *matrixhttp.Request, name string, value any) error {
	u, err := s.account(r)
	if err != nil {
		return err
	}
	set, err := userapi.GetSettings.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	if err != nil {
		return err
	}
	if raw, ok := set.Values[name]; ok {
		if err := json.Unmarshal(raw, value); err != nil {
			return merr.Internal(err)
		}
	}
	return nil
}

// set records and changes a setting of a user; a nil value takes it away.
func (s *Server) set(r *matrixhttp.Request, userID, name string, value any) error {
	if err := s.record(r, "user."+name, userID, "", nil, value); err != nil {
		return err
	}
	req := &userapi.SetSettingRequest{UserID: userID, Name: name}
	if value != nil {
		raw, err := json.Marshal(value)
		if err != nil {
			return merr.Internal(err)
		}
		req.Value = raw
	}
	_, err := userapi.SetSetting.Do(r.Context(), s.Bus, req)
	return err
}

// getRateLimit is GET /v1/users/{userId}/override_ratelimit.
func (s *Server) getRateLimit(r *matrixhttp.Request) (any, error) {
	var limit *userapi.RateLimit
	if err := s.setting(r, userapi.SettingRateLimit, &limit); err != nil {
		return nil, err
	}
	if limit == nil {
		return nil, nil
	}
	return limit, nil
}

// setRateLimit is POST /v1/users/{userId}/override_ratelimit. 0 messages a second stand for no limit.
func (s *Server) setRateLimit(r *matrixhttp.Request) (any, error) {
	limit, err := matrixhttp.Decode[userapi.RateLimit](r)
	if err != nil {
		return nil, err
	}
	const most = 1_000_000
	if limit.MessagesPerSecond < 0 || limit.BurstCount < 0 || limit.MessagesPerSecond > most || limit.BurstCount > most {
		return nil, merr.InvalidParam("messages_per_second and burst_count must be between 0 and %d", most)
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	return limit, s.set(r, u.UserID, userapi.SettingRateLimit, limit)
}

// deleteRateLimit is DELETE /v1/users/{userId}/override_ratelimit.
func (s *Server) deleteRateLimit(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	return nil, s.set(r, u.UserID, userapi.SettingRateLimit, nil)
}

type features struct {
	Features map[string]bool `json:"features"`
}

// maxFeatures bounds what is stored for one account.
const maxFeatures = 100

// getFeatures is GET /v1/experimental_features/{userId}.
func (s *Server) getFeatures(r *matrixhttp.Request) (any, error) {
	on := features{Features: map[string]bool{}}
	err := s.setting(r, userapi.SettingFeatures, &on.Features)
	return on, err
}

// putFeatures is PUT /v1/experimental_features/{userId}: those that it does not name stay as they are.
func (s *Server) putFeatures(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[features](r)
	if err != nil {
		return nil, err
	}
	on := map[string]bool{}
	if err := s.setting(r, userapi.SettingFeatures, &on); err != nil {
		return nil, err
	}
	for name, is := range req.Features {
		on[name] = is
	}
	if len(on) > maxFeatures {
		return nil, merr.InvalidParam("Too many features")
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	return nil, s.set(r, u.UserID, userapi.SettingFeatures, on)
}

// usualValidity is how long an account is renewed unless the request says otherwise.
const usualValidity = 90 * 24 * time.Hour

// setValidity is POST /v1/account_validity/validity: until when an account is valid. Whoever runs
// the server acts on it; the account goes on working.
func (s *Server) setValidity(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		UserID  string `json:"user_id"`
		Expires *int64 `json:"expiration_ts"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.UserID == "" {
		return nil, merr.MissingParam("user_id")
	}
	until := s.Now().Add(usualValidity).UnixMilli()
	if req.Expires != nil {
		until = *req.Expires
	}
	if err := s.set(r, req.UserID, userapi.SettingValidity, until); err != nil {
		return nil, err
	}
	return map[string]int64{"expiration_ts": until}, nil
}

// replaceKeys is how long cross-signing keys can be replaced without a password.
const replaceKeys = 10 * time.Minute

// allowKeys is POST /v1/users/{userId}/_allow_cross_signing_replacement_without_uia.
func (s *Server) allowKeys(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	has := false
	query := &userapi.QueryKeysRequest{Users: map[string][]string{u.UserID: nil}}
	err = userapi.ReadKeys(r.Context(), s.Bus, query, func(p *userapi.KeyPart) error {
		has = has || p.Part == userapi.MasterPart
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !has {
		return nil, merr.NotFound("User has no master cross-signing key")
	}
	until := s.Now().Add(replaceKeys).UnixMilli()
	if err := s.set(r, u.UserID, userapi.SettingCrossSigning, until); err != nil {
		return nil, err
	}
	return map[string]int64{"updatable_without_uia_before_ms": until}, nil
}
