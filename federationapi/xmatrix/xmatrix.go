// Package xmatrix is the authentication of requests between servers: the header
// "Authorization: X-Matrix" and what its signature covers (server-server API, "Request
// Authentication").
package xmatrix

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Header is one Authorization header. Origin is a server name, KeyID the id of an
// ed25519 key; nothing else is known of it before Verify.
type Header struct {
	Origin string
	// Destination is empty in requests of old servers.
	Destination string
	KeyID       string
	// Signature is base64, or what the sender takes for it.
	Signature string
}

// Request is what a signature covers.
type Request struct {
	Method string
	// URI is the target as it is on the wire: path and query, as escaped as there.
	URI                 string
	Origin, Destination string
	// Content is the body, a JSON object; nil: there is none.
	Content []byte
}

// ErrNoHeader says that a header has another scheme.
var ErrNoHeader = errors.New("the scheme is not X-Matrix")

// object writes the JSON that is signed. Content is a canonical object; the members
// are in order.
func (r Request) object(signature string, by pdu.Signer) []byte {
	out := make([]byte, 0, len(r.Content)+512)
	out = append(out, '{')
	if r.Content != nil {
		out = append(append(out, `"content":`...), r.Content...)
		out = append(out, ',')
	}
	for _, m := range [...]struct{ key, value string }{
		{"destination", r.Destination}, {"method", r.Method}, {"origin", r.Origin},
	} {
		out = append(pdu.AppendString(out, m.key), ':')
		out = append(pdu.AppendString(out, m.value), ',')
	}
	if signature != "" {
		out = append(pdu.AppendString(append(out, `"signatures":{`...), by.ServerName), ":{"...)
		out = append(pdu.AppendString(out, by.KeyID), ':')
		out = append(pdu.AppendString(out, signature), "}},"...)
	}
	out = append(out, `"uri":`...)
	return append(pdu.AppendString(out, r.URI), '}')
}

// Sign returns the value of the header. The request's origin is the signer's name; its
// content must be canonical. Errors are those of [pdu.SignJSON].
func Sign(r Request, s pdu.Signer) (string, error) {
	r.Origin = s.ServerName
	signed, err := pdu.SignJSON(r.object("", s), s)
	if err != nil {
		return "", err
	}
	signatures, _ := pdu.Get(signed, "signatures")
	keys, _ := pdu.Get(signatures, s.ServerName)
	sig, ok := pdu.GetString(keys, s.KeyID)
	if !ok {
		return "", merr.Internal(errors.New("the signed request has no signature"))
	}
	// None of the values can hold a quote or a backslash.
	return fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`,
		s.ServerName, r.Destination, s.KeyID, sig), nil
}

// Verify checks the signature of a request with the key that the header names. The
// content must be canonical. Errors are those of [pdu.VerifyCanonical].
func (h Header) Verify(r Request, key ed25519.PublicKey) error {
	r.Origin = h.Origin
	by := pdu.Signer{ServerName: h.Origin, KeyID: h.KeyID}
	return pdu.VerifyCanonical(r.object(h.Signature, by), h.Origin, h.KeyID, key)
}

// ValidKeyID reports whether s is the id of an ed25519 key: the algorithm, a colon and
// a version of letters, digits and underscores, 255 bytes at most together.
func ValidKeyID(s string) bool {
	version, ok := strings.CutPrefix(s, "ed25519:")
	if !ok || version == "" || len(s) > pdu.MaxIDLength {
		return false
	}
	return strings.IndexFunc(version, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
	}) < 0
}
