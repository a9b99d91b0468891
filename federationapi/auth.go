package federationapi

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"hearth/federationapi/peers"
	"hearth/federationapi/xmatrix"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxSignatures is how many Authorization headers of one request are tried.
const maxSignatures = 8

// authenticate is the matrixhttp.Auth of endpoints for servers (server-server API,
// "Request Authentication"): it finds out which server sends the request and writes it to
// Identity.Server. Everything that cannot be verified is 401 M_UNAUTHORIZED.
//
// The body is canonical JSON of our own making before its signature is checked, so what
// was signed is what the handler reads.
func (s *Server) authenticate(r *matrixhttp.Request) error {
	headers, err := s.signatures(r.HTTP.Header.Values("Authorization"))
	if err != nil {
		return err
	}
	if !s.deps.Servers.Allows(headers[0].Origin) {
		return peers.Denied()
	}
	signed := xmatrix.Request{Method: r.HTTP.Method, URI: r.HTTP.RequestURI, Destination: s.deps.ServerName}
	if !strings.HasPrefix(signed.URI, "/") { // of a proxy
		return unauthorized("The request target must be a path", nil)
	}
	leave, err := s.place(r)
	if err != nil {
		return err
	}
	defer leave()
	body, err := r.Bytes()
	if err != nil {
		return err
	}
	if len(body) > 0 {
		if signed.Content, body, err = pdu.Envelope(body); err != nil {
			return unauthorized("The request body is not JSON that can be signed", err)
		}
		r.SetObject(body)
	}
	var failed error
	for _, h := range headers {
		key, err := s.keys.Key(r.Context(), h.Origin, h.KeyID, s.deps.Now())
		if err == nil {
			err = holds(h, signed, key)
		}
		if err == nil {
			r.Identity.Server = h.Origin
			s.health.Alive(h.Origin)
			return nil
		}
		failed = err
	}
	return unauthorized("The signature of the request is not valid", failed)
}

// holds checks one signature. No body and an empty object are the same to an endpoint
// that takes either, and senders do not agree on which of them they sign.
func holds(h xmatrix.Header, signed xmatrix.Request, key []byte) error {
	err := h.Verify(signed, key)
	if err != nil && bytes.Equal(signed.Content, []byte("{}")) {
		signed.Content = nil
		err = h.Verify(signed, key)
	}
	return err
}

// signatures reads the headers of a request: at least one, all of one origin, which is
// not us, and none for another server.
func (s *Server) signatures(values []string) ([]xmatrix.Header, error) {
	var out []xmatrix.Header
	for _, value := range values {
		h, err := xmatrix.Parse(value)
		switch {
		case errors.Is(err, xmatrix.ErrNoHeader):
			continue
		case err != nil:
			return nil, unauthorized("The Authorization header is malformed", err)
		case h.Destination != "" && h.Destination != s.deps.ServerName:
			return nil, unauthorized("The request is for another server", nil)
		case h.Origin == s.deps.ServerName:
			return nil, unauthorized("The request claims to come from this server", nil)
		case len(out) > 0 && h.Origin != out[0].Origin:
			return nil, unauthorized("The request has several origins", nil)
		case len(out) == maxSignatures:
			return nil, unauthorized("The request has too many signatures", nil)
		}
		out = append(out, h)
	}
	if len(out) == 0 {
		return nil, unauthorized("The request is not signed by a server", nil)
	}
	return out, nil
}

func unauthorized(text string, cause error) error {
	return merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "%s", text).WithCause(cause)
}
