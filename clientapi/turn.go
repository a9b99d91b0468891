package clientapi

import (
	"crypto/hmac"
	"crypto/sha1" // what TURN servers take ("TURN REST API"); as an HMAC it is sound
	"encoding/base64"
	"strconv"
	"time"

	"hearth/internal/matrixhttp"
)

// TurnOptions say which TURN servers calls may use; no URIs: none.
type TurnOptions struct {
	URIs []string
	// SharedSecret makes credentials for each user that end after TTL. Without it
	// everybody gets Username and Password.
	SharedSecret       string
	Username, Password string
	TTL                time.Duration // 0: a day
}

const defaultTurnTTL = 24 * time.Hour

// turnServer is GET /voip/turnServer; empty: the server offers none.
func (s *Server) turnServer(r *matrixhttp.Request) (any, error) {
	o := s.options.Turn
	if len(o.URIs) == 0 {
		return nil, nil
	}
	ttl := o.TTL
	if ttl <= 0 {
		ttl = defaultTurnTTL
	}
	username, password := o.Username, o.Password
	if o.SharedSecret != "" {
		username = strconv.FormatInt(s.now().Add(ttl).Unix(), 10) + ":" + r.Identity.UserID
		mac := hmac.New(sha1.New, []byte(o.SharedSecret))
		_, _ = mac.Write([]byte(username)) // never fails
		password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return map[string]any{
		"username": username, "password": password, "uris": o.URIs, "ttl": int64(ttl / time.Second),
	}, nil
}
