package sso

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"hearth/internal/merr"
)

const (
	// flowTime is how long somebody may take to log in at a provider.
	flowTime = 15 * time.Minute
	// MaxRedirect bounds the address of a client in bytes: it travels in the cookie.
	MaxRedirect  = 2000
	cookiePrefix = "hearth_sso_"
	maxCode      = 8 << 10
)

// flow is what the cookie of a browser remembers.
type flow struct {
	Provider string  `json:"p"`
	State    string  `json:"t"`
	Nonce    string  `json:"n"`
	Verifier string  `json:"v"` // of PKCE
	Until    int64   `json:"u"` // milliseconds
	Purpose  Purpose `json:"w"`
}

// Begin returns where to send a browser, and the cookie that it must bring back. With a
// Session the provider is asked to make sure who is there, whoever is logged in.
func (c *Client) Begin(ctx context.Context, id string, why Purpose) (string, *http.Cookie, error) {
	p, err := c.provider(id)
	if err != nil {
		return "", nil, err
	}
	if len(why.RedirectURL) > MaxRedirect {
		return "", nil, merr.InvalidParam("The address of the application is longer than %d bytes", MaxRedirect)
	}
	config, _, err := p.config(ctx, c.callback)
	if err != nil {
		c.log.WithError(err).WithField("provider", p.ID).Warn("single sign-on: the provider does not answer")
		return "", nil, merr.Unavailable("%s cannot be reached now", p.Name).WithCause(err)
	}
	f := flow{
		Provider: id, State: secret(), Nonce: secret(), Verifier: oauth2.GenerateVerifier(),
		Until: c.now().Add(flowTime).UnixMilli(), Purpose: why,
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	if why.Session != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	cookie := c.cookie(f.State)
	cookie.Value, cookie.MaxAge = c.sealer.seal(f), int(flowTime.Seconds())
	return config.AuthCodeURL(f.State, options...), cookie, nil
}

// open finds the flow that a state belongs to.
func (c *Client) open(r *http.Request, state string) (*flow, *http.Cookie, error) {
	unknown := merr.Forbidden("This log-in was not begun in this browser, or is too old. Begin again in your application.")
	if len(state) != secretLength {
		return nil, nil, unknown
	}
	gone := c.cookie(state)
	gone.MaxAge = -1
	got, err := r.Cookie(gone.Name)
	if err != nil {
		return nil, nil, unknown
	}
	var f flow
	if !c.sealer.open(got.Value, &f) || subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 ||
		c.now().UnixMilli() >= f.Until {
		return nil, gone, unknown
	}
	return &f, gone, nil
}

// cookie returns an empty cookie for a state: each flow has its own, so that two windows
// do not disturb each other.
func (c *Client) cookie(state string) *http.Cookie {
	path := "/"
	if u, err := url.Parse(c.callback); err == nil {
		path = u.Path
	}
	return &http.Cookie{
		Name: cookiePrefix + state[:8], Path: path, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(c.callback, "https:"),
	}
}

// Ticket makes a text that only this process can read, for a form.
func (c *Client) Ticket(v any) string { return c.sealer.seal(v) }

// ReadTicket reads what Ticket made.
func (c *Client) ReadTicket(text string, v any) bool { return c.sealer.open(text, v) }

const secretLength = 24

// secret returns 144 random bits.
func secret() string {
	var b [secretLength / 4 * 3]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// sealer encrypts with a key that ends with the process.
type sealer struct{ aead cipher.AEAD }

func newSealer() *sealer {
	var key [32]byte
	_, _ = rand.Read(key[:])          // never fails
	block, _ := aes.NewCipher(key[:]) // nor does a key of this length
	aead, _ := cipher.NewGCM(block)   // nor AES
	return &sealer{aead}
}

func (s *sealer) seal(v any) string {
	text, _ := json.Marshal(v) // of strings and numbers
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, text, nil))
}

func (s *sealer) open(text string, v any) bool {
	if len(text) > 2*4096 {
		return false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(sealed) < s.aead.NonceSize() {
		return false
	}
	plain, err := s.aead.Open(nil, sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():], nil)
	return err == nil && json.Unmarshal(plain, v) == nil
}
