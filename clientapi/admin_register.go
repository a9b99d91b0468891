package clientapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // the admin API's own choice; as an HMAC it is sound
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const (
	nonceTTL  = 60 * time.Second
	maxNonces = 1000
)

// nonces are the open nonces of shared-secret registration; each is good for one
// attempt in this process.
type nonces struct {
	now  func() time.Time
	mu   sync.Mutex // guards open
	open map[string]time.Time
}

func newNonces(now func() time.Time) *nonces {
	return &nonces{now: now, open: map[string]time.Time{}}
}

func (n *nonces) issue() (string, error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	nonce := hex.EncodeToString(b[:])
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if len(n.open) >= maxNonces {
		for old, at := range n.open {
			if !fresh(at, now) {
				delete(n.open, old)
			}
		}
	}
	if len(n.open) >= maxNonces {
		return "", merr.LimitExceeded(nonceTTL)
	}
	n.open[nonce] = now
	return nonce, nil
}

func (n *nonces) use(nonce string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok := n.open[nonce]
	delete(n.open, nonce)
	return ok && fresh(at, n.now())
}

func fresh(at, now time.Time) bool { return now.Sub(at) < nonceTTL && !now.Before(at) }

// registerNonce is GET /_synapse/admin/v1/register.
func (s *Server) registerNonce(*matrixhttp.Request) (any, error) {
	if err := s.sharedSecretOn(); err != nil {
		return nil, err
	}
	nonce, err := s.nonces.issue()
	return map[string]string{"nonce": nonce}, err
}

func (s *Server) sharedSecretOn() error {
	if s.options.SharedSecret == "" {
		return merr.New(http.StatusBadRequest, "M_UNKNOWN", "Shared secret registration is not enabled")
	}
	return nil
}

type sharedRegisterRequest struct {
	Nonce        string  `json:"nonce"`
	Username     string  `json:"username"`
	DisplayName  string  `json:"displayname"`
	Password     string  `json:"password"`
	Admin        bool    `json:"admin"`
	UserType     *string `json:"user_type"`
	MAC          string  `json:"mac"`
	InhibitLogin bool    `json:"inhibit_login"`
}

// registerShared is POST /_synapse/admin/v1/register: whoever knows the shared
// secret makes accounts, in every mode of registration.
func (s *Server) registerShared(r *matrixhttp.Request) (any, error) {
	if err := s.sharedSecretOn(); err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[sharedRegisterRequest](r)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, value string }{
		{"nonce", req.Nonce}, {"username", req.Username}, {"password", req.Password}, {"mac", req.MAC},
	} {
		if p.value == "" {
			return nil, merr.MissingParam(p.name)
		}
	}
	if !s.nonces.use(req.Nonce) {
		return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "Unrecognised nonce")
	}
	if !hmac.Equal([]byte(req.MAC), []byte(s.registerMAC(req))) {
		return nil, merr.Forbidden("HMAC incorrect")
	}
	if err := s.mayHaveUser(nil, s.localID(req.Username)); err != nil {
		return nil, err
	}
	session, err := userapi.Register.Do(r.Context(), s.bus, &userapi.RegisterRequest{
		Username: req.Username, Password: req.Password, Admin: req.Admin,
		DisplayName: req.DisplayName, InhibitLogin: req.InhibitLogin,
	})
	if err != nil {
		return nil, err
	}
	return s.session(session), nil
}

// registerMAC is the HMAC-SHA1 that a request should carry, in hexadecimal.
func (s *Server) registerMAC(req *sharedRegisterRequest) string {
	mac := hmac.New(sha1.New, []byte(s.options.SharedSecret))
	parts := []string{req.Nonce, req.Username, req.Password, "notadmin"}
	if req.Admin {
		parts[3] = "admin"
	}
	if req.UserType != nil && *req.UserType != "" {
		parts = append(parts, *req.UserType)
	}
	for i, part := range parts {
		if i > 0 {
			mac.Write([]byte{0})
		}
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}
