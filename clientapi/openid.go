package clientapi

import (
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
)

// openIDToken is POST /user/{userId}/openid/request_token.
func (s *Server) openIDToken(r *matrixhttp.Request) (any, error) {
	if err := self(r); err != nil {
		return nil, err
	}
	if _, err := r.Object(); err != nil {
		return nil, err
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	token, err := userapi.IssueOpenIDToken.Do(r.Context(), s.bus, &userapi.IssueTokenRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"access_token": token.Token, "token_type": "Bearer", "matrix_server_name": s.serverName,
		"expires_in": token.ExpiresInMS / time.Second.Milliseconds(),
	}, nil
}
