// Package oidcprovider is an OpenID provider for tests (OpenID Connect Core 1.0 and
// Discovery 1.0, the authorization code flow with PKCE). Everybody who comes is logged
// in as the user that the test has set. It is as strict as a real one: a code is good
// once, for the client, address and verifier that it was given for.
package oidcprovider

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Provider is a running provider. Its client has ClientID and ClientSecret.
type Provider struct {
	URL, ClientID, ClientSecret string

	mu      sync.Mutex // guards the rest
	key     *rsa.PrivateKey
	keyID   string
	claims  map[string]any // of the user
	info    map[string]any // of the user, at the userinfo endpoint alone
	mangle  func(claims map[string]any)
	now     func() time.Time
	codes   map[string]grant
	tokens  map[string]map[string]any // userinfo by access token
	prompts []string
	down    bool
}

// grant is what a code was given for.
type grant struct{ redirect, challenge, nonce string }

// Start runs a provider until the test ends. now may be nil.
func Start(t testing.TB, now func() time.Time) *Provider {
	t.Helper()
	if now == nil {
		now = time.Now
	}
	p := &Provider{
		ClientID: "client of hearth", ClientSecret: "secret/of hearth+%",
		now: now, codes: map[string]grant{}, tokens: map[string]map[string]any{},
	}
	p.NewKey(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// User sets who logs in from now on: the claims of the ID token, and those that only
// the userinfo endpoint tells. nil claims: nobody, the provider refuses.
func (p *Provider) User(claims, info map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims, p.info = claims, info
}

// Mangle lets a test change the claims of the next ID tokens; nil: as they should be.
func (p *Provider) Mangle(f func(claims map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mangle = f
}

// Down makes the provider answer with errors.
func (p *Provider) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// NewKey replaces the key that signs ID tokens.
func (p *Provider) NewKey(t testing.TB) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// Prompts lists the prompt parameters of the requests so far.
func (p *Provider) Prompts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.prompts...)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: p.key.Public(), KeyID: p.keyID, Algorithm: "RS256", Use: "sig"},
	}})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != p.ClientID || back.Host == "" {
		http.Error(w, "unknown client", http.StatusBadRequest) // never a redirect
		return
	}
	p.prompts = append(p.prompts, q.Get("prompt"))
	out := url.Values{"state": {q.Get("state")}, "iss": {p.URL}}
	switch {
	case q.Get("response_type") != "code", q.Get("code_challenge_method") != "S256", len(q.Get("code_challenge")) != 43,
		q.Get("nonce") == "", q.Get("state") == "":
		out.Set("error", "invalid_request")
	case p.claims == nil:
		out.Set("error", "access_denied")
	default:
		code := rand.Text()
		p.codes[code] = grant{q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce")}
		out.Set("code", code)
	}
	back.RawQuery = out.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if basic { // RFC 6749, 2.3.1
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != p.ClientID || secret != p.ClientSecret {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	g, ok := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != g.redirect ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	access := rand.Text()
	half := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"iss": p.URL, "aud": p.ClientID, "iat": p.now().Unix(), "exp": p.now().Add(5 * time.Minute).Unix(), "nonce": g.nonce,
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	}
	maps.Copy(claims, p.claims)
	p.tokens[access] = map[string]any{"sub": claims["sub"]}
	maps.Copy(p.tokens[access], p.info)
	if p.mangle != nil {
		p.mangle(claims)
	}
	signed, err := p.sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed})
}

func (p *Provider) sign(claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: p.keyID}}, nil)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	info, ok := p.tokens[bearer(r)]
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	answer(w, http.StatusOK, info)
}

func bearer(r *http.Request) string {
	const scheme = "Bearer "
	if h := r.Header.Get("Authorization"); len(h) > len(scheme) {
		return h[len(scheme):]
	}
	return ""
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever is gone does not read it
}
