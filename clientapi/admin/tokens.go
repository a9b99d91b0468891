package admin

import (
	"crypto/rand"
	"encoding/base64"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// describeToken is a registration token; without limit is null.
func describeToken(t *userapi.RegistrationToken) map[string]any {
	out := map[string]any{"token": t.Token, "uses_allowed": nil, "pending": 0, "completed": t.Completed, "expiry_time": nil}
	if t.Uses >= 0 {
		out["uses_allowed"] = t.Uses
	}
	if t.ExpiresTS >= 0 {
		out["expiry_time"] = t.ExpiresTS
	}
	return out
}

// eachToken calls f for all registration tokens until it says to stop.
func (s *Server) eachToken(r *matrixhttp.Request, f func(t *userapi.RegistrationToken) (more bool)) error {
	for after := ""; ; {
		list, err := userapi.RegistrationTokens.Do(r.Context(), s.Bus, &userapi.RegistrationTokensRequest{After: after})
		if err != nil {
			return err
		}
		for i := range list.Tokens {
			if !f(&list.Tokens[i]) {
				return nil
			}
			after = list.Tokens[i].Token
		}
		if !list.More || len(list.Tokens) == 0 {
			return nil
		}
	}
}

// listTokens is GET /v1/registration_tokens.
func (s *Server) listTokens(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	valid := optional(q, "valid")
	if err := q.Err(); err != nil {
		return nil, err
	}
	now := s.Now().UnixMilli()
	tokens := []map[string]any{}
	err := s.eachToken(r, func(t *userapi.RegistrationToken) bool {
		is := (t.Uses < 0 || t.Completed < t.Uses) && (t.ExpiresTS < 0 || now < t.ExpiresTS)
		if valid == nil || *valid == is {
			tokens = append(tokens, describeToken(t))
		}
		return true
	})
	return map[string]any{"registration_tokens": tokens}, err
}

// findToken returns a registration token, 404 M_NOT_FOUND if there is none.
func (s *Server) findToken(r *matrixhttp.Request) (*userapi.RegistrationToken, error) {
	var found *userapi.RegistrationToken
	err := s.eachToken(r, func(t *userapi.RegistrationToken) bool {
		if t.Token == r.Param("token") {
			found = t
		}
		return found == nil
	})
	if err == nil && found == nil {
		err = merr.NotFound("No such registration token: %s", r.Param("token"))
	}
	return found, err
}

// getToken is GET /v1/registration_tokens/{token}.
func (s *Server) getToken(r *matrixhttp.Request) (any, error) {
	t, err := s.findToken(r)
	if err != nil {
		return nil, err
	}
	return describeToken(t), nil
}

// tokenLimits are as in the request: a missing field leaves the limit, null takes it away.
type tokenLimits struct {
	Token       *string
	Length      int64
	Uses        int64
	Expires     int64
	hasUses     bool
	hasExpires  bool
	lengthGiven bool
}

func (s *Server) readLimits(r *matrixhttp.Request) (*tokenLimits, error) {
	req, err := matrixhttp.Decode[map[string]any](r)
	if err != nil {
		return nil, err
	}
	l := &tokenLimits{Length: 16, Uses: -1, Expires: -1}
	number := func(name string, least int64, into *int64) (given bool, err error) {
		v, ok := (*req)[name]
		if !ok || v == nil {
			return ok, nil
		}
		f, isNumber := v.(float64)
		if !isNumber || f != float64(int64(f)) || int64(f) < least {
			return true, merr.InvalidParam("%s must be a number of at least %d, or null", name, least)
		}
		*into = int64(f)
		return true, nil
	}
	if l.hasUses, err = number("uses_allowed", 0, &l.Uses); err != nil {
		return nil, err
	}
	if l.hasExpires, err = number("expiry_time", s.Now().UnixMilli(), &l.Expires); err != nil {
		return nil, err
	}
	if l.lengthGiven, err = number("length", 1, &l.Length); err != nil || l.Length > 64 {
		return nil, merr.InvalidParam("length must be between 1 and 64")
	}
	if v, ok := (*req)["token"]; ok {
		text, isText := v.(string)
		if !isText || text == "" {
			return nil, merr.InvalidParam("token must be a text that is not empty")
		}
		l.Token = &text
	}
	return l, nil
}

// newToken is POST /v1/registration_tokens/new.
func (s *Server) newToken(r *matrixhttp.Request) (any, error) {
	l, err := s.readLimits(r)
	if err != nil {
		return nil, err
	}
	t := userapi.RegistrationToken{Uses: l.Uses, ExpiresTS: l.Expires}
	if l.Token != nil {
		t.Token = *l.Token
	} else {
		raw := make([]byte, 64)
		_, _ = rand.Read(raw) // never fails
		t.Token = base64.RawURLEncoding.EncodeToString(raw)[:l.Length]
	}
	return s.setToken(r, "registration_token.create", t, false)
}

// putToken is PUT /v1/registration_tokens/{token}.
func (s *Server) putToken(r *matrixhttp.Request) (any, error) {
	l, err := s.readLimits(r)
	if err != nil {
		return nil, err
	}
	t, err := s.findToken(r)
	if err != nil {
		return nil, err
	}
	if l.hasUses {
		t.Uses = l.Uses
	}
	if l.hasExpires {
		t.ExpiresTS = l.Expires
	}
	return s.setToken(r, "registration_token.change", *t, true)
}

func (s *Server) setToken(r *matrixhttp.Request, action string, t userapi.RegistrationToken, update bool) (any, error) {
	if err := s.record(r, action, "registration token", "", nil, map[string]int64{"uses_allowed": t.Uses, "expiry_time": t.ExpiresTS}); err != nil {
		return nil, err
	}
	stored, err := userapi.SetRegistrationToken.Do(r.Context(), s.Bus, &userapi.SetRegistrationTokenRequest{RegistrationToken: t, Update: update})
	if err != nil {
		return nil, err
	}
	return describeToken(stored), nil
}

// deleteToken is DELETE /v1/registration_tokens/{token}.
func (s *Server) deleteToken(r *matrixhttp.Request) (any, error) {
	if err := s.record(r, "registration_token.delete", "registration token", "", nil, nil); err != nil {
		return nil, err
	}
	_, err := userapi.DeleteRegistrationToken.Do(r.Context(), s.Bus, &userapi.RegistrationTokenRequest{Token: r.Param("token")})
	return nil, err
}
