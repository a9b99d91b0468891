package peertest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/pdu"
)

// Peer is a scripted server. What is not scripted is answered with 404.
type Peer struct {
	Name string

	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex // guards what follows
	handlers map[string]http.HandlerFunc
	prefixes map[string]http.HandlerFunc
	requests map[string]int
	last     map[string]*Seen // by path; "": any
}

// Seen is a request as it arrived.
type Seen struct {
	Host, SNI, Proto, URI string
	Header                http.Header
	Body                  []byte
}

// New starts a server with a certificate for hosts and places it at host:port of the
// network.
func New(t testing.TB, n *Net, name, hostPort string, hosts ...string) *Peer {
	t.Helper()
	p := &Peer{Name: name, t: t, handlers: map[string]http.HandlerFunc{}, prefixes: map[string]http.HandlerFunc{}, requests: map[string]int{}, last: map[string]*Seen{}}
	p.server = httptest.NewUnstartedServer(p)
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{n.CA.Leaf(hosts...)}, MinVersion: tls.VersionTLS12}
	p.server.EnableHTTP2 = true
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	p.server.StartTLS()
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	n.Place(hostPort, p.Address())
	return p
}

// Address is where it listens in truth.
func (p *Peer) Address() string { return p.server.Listener.Addr().String() }

// Handle scripts a path.
func (p *Peer) Handle(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[path] = h
}

// HandlePrefix scripts the paths that begin with a prefix and have no script of their own.
func (p *Peer) HandlePrefix(prefix string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prefixes[prefix] = h
}

// Answer scripts a path with a fixed answer.
func (p *Peer) Answer(path string, status int, body string) {
	p.Handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // who asked may have left
	})
}

// Requests is how often a path was asked for.
func (p *Peer) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// Last is the last request, nil if there was none.
func (p *Peer) Last() *Seen { return p.LastTo("") }

// LastTo is the last request to a path, nil if there was none.
func (p *Peer) LastTo(path string) *Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[path]
}

// ServeHTTP answers as scripted.
func (p *Peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.requests[r.URL.Path]++
	seen := &Seen{Host: r.Host, SNI: r.TLS.ServerName, Proto: r.Proto, URI: r.RequestURI, Header: r.Header, Body: body}
	p.last[""], p.last[r.URL.Path] = seen, seen
	h := p.handlers[r.URL.Path]
	for prefix, other := range p.prefixes {
		if h == nil && strings.HasPrefix(r.URL.Path, prefix) {
			h = other
		}
	}
	p.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if h == nil {
		http.Error(w, `{"errcode":"M_UNRECOGNIZED","error":"not scripted"}`, http.StatusNotFound)
		return
	}
	h(w, r)
}

// Signer returns a key of a server; the same names give the same key.
func Signer(server, keyID string) pdu.Signer {
	seed := sha256.Sum256([]byte(server + " " + keyID))
	return pdu.Signer{ServerName: server, KeyID: keyID, Key: ed25519.NewKeyFromSeed(seed[:])}
}

// Keys is what a server says of its keys.
type Keys struct {
	Server     string
	ValidUntil time.Time
	Current    []pdu.Signer
	Old        map[string]OldKey // by key id
}

// OldKey is a key that is not used any more.
type OldKey struct {
	Public  []byte
	Expired time.Time
}

// JSON returns the answer of /_matrix/key/v2/server, signed with all current keys.
func (k Keys) JSON(t testing.TB) []byte {
	t.Helper()
	verify, old := map[string]any{}, map[string]any{}
	for _, s := range k.Current {
		verify[s.KeyID] = map[string]any{"key": base64.RawStdEncoding.EncodeToString(s.Key.Public().(ed25519.PublicKey))}
	}
	for id, o := range k.Old {
		old[id] = map[string]any{"key": base64.RawStdEncoding.EncodeToString(o.Public), "expired_ts": o.Expired.UnixMilli()}
	}
	body, err := json.Marshal(map[string]any{
		"server_name": k.Server, "valid_until_ts": k.ValidUntil.UnixMilli(), "verify_keys": verify, "old_verify_keys": old,
	})
	for _, s := range k.Current {
		if err == nil {
			body, err = pdu.SignJSON(body, s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}
