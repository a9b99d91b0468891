// Package identity asks identity servers to bind third-party identifiers to users and to
// unbind them (identity service API, "Establishing associations"), those alone that the
// configuration names.
package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	timeout = 20 * time.Second
	// maxAnswer bounds an answer, maxText a text in it, in bytes.
	maxAnswer = 64 << 10
	maxText   = 500
	bindPath  = "/_matrix/identity/v2/3pid/bind"
	unbindURI = "/_matrix/identity/v2/3pid/unbind"
)

// Client asks identity servers.
type Client struct {
	servers []string
	http    *http.Client
	signer  pdu.Signer
}

// New returns a client of the servers that are named. transport makes the connections;
// signer proves to them which server asks.
func New(servers []string, transport http.RoundTripper, signer pdu.Signer) *Client {
	return &Client{servers: servers, signer: signer, http: &http.Client{
		Transport: transport, Timeout: timeout,
		// Nobody leads us elsewhere with a user's token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Trusts reports whether a server may be asked.
func (c *Client) Trusts(server string) bool { return c != nil && slices.Contains(c.servers, server) }

// Session is a validation at an identity server, with the user's token for that server.
type Session struct{ Server, Token, Sid, ClientSecret string }

// Bind makes a user known under the identifier that was validated in a session, and
// returns the identifier. Errors of the identity server are passed on.
func (c *Client) Bind(ctx context.Context, s Session, userID string) (medium, address string, err error) {
	body, err := json.Marshal(map[string]string{"sid": s.Sid, "client_secret": s.ClientSecret, "mxid": userID})
	if err != nil {
		return "", "", err
	}
	answer, err := c.post(ctx, s.Server, bindPath, "Bearer "+s.Token, body)
	if err != nil {
		return "", "", err
	}
	var bound struct{ Medium, Address, MXID string }
	if json.Unmarshal(answer, &bound) != nil || bound.MXID != userID || bound.Medium == "" || bound.Address == "" ||
		len(bound.Medium) > maxText || len(bound.Address) > maxText {
		return "", "", merr.New(http.StatusBadGateway, "M_UNKNOWN", "The identity server gave no valid answer")
	}
	return bound.Medium, bound.Address, nil
}

// Unbind ends what Bind began. This server vouches for the user.
func (c *Client) Unbind(ctx context.Context, server, userID, medium, address string) error {
	body, err := json.Marshal(map[string]any{"mxid": userID, "threepid": map[string]string{"medium": medium, "address": address}})
	if err != nil {
		return err
	}
	auth, err := c.sign(server, unbindURI, body)
	if err != nil {
		return err
	}
	_, err = c.post(ctx, server, unbindURI, auth, body)
	return err
}

// sign returns the header with which a server signs a request (server-server API,
// "Request Authentication").
func (c *Client) sign(server, uri string, body []byte) (string, error) {
	request, err := json.Marshal(map[string]any{
		"method": http.MethodPost, "uri": uri, "origin": c.signer.ServerName, "destination": server, "content": json.RawMessage(body),
	})
	if err != nil {
		return "", err
	}
	signed, err := pdu.SignJSON(request, c.signer)
	if err != nil {
		return "", err
	}
	var s struct {
		Signatures map[string]map[string]string `json:"signatures"`
	}
	if err := json.Unmarshal(signed, &s); err != nil {
		return "", err
	}
	return fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`,
		c.signer.ServerName, server, c.signer.KeyID, s.Signatures[c.signer.ServerName][c.signer.KeyID]), nil
}

func (c *Client) post(ctx context.Context, server, path, auth string, body []byte) ([]byte, error) {
	if !c.Trusts(server) {
		return nil, NotTrusted()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", auth)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, merr.Unavailable("The identity server cannot be reached now").WithCause(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, merr.Unavailable("The identity server cannot be reached now").WithCause(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, passedOn(resp.StatusCode, answer)
	}
	return answer, nil
}

// NotTrusted is 400 M_SERVER_NOT_TRUSTED.
func NotTrusted() error {
	return merr.New(http.StatusBadRequest, "M_SERVER_NOT_TRUSTED", "This server does not work with that identity server")
}

var errcode = regexp.MustCompile(`^[A-Z][A-Z0-9_.]{0,99}$`)

// passedOn is an identity server's error for the client. What would end the client's
// session here is not passed on as it is: the token that was refused is another one.
func passedOn(status int, body []byte) error {
	var e struct {
		Code    string `json:"errcode"`
		Message string `json:"error"`
	}
	if status < 400 || status > 499 || json.Unmarshal(body, &e) != nil || !errcode.MatchString(e.Code) {
		return merr.New(http.StatusBadGateway, "M_UNKNOWN", "The identity server gave no valid answer")
	}
	if len(e.Message) > maxText {
		e.Message = ""
	}
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	if e.Code == "M_UNKNOWN_TOKEN" || e.Code == "M_MISSING_TOKEN" {
		e.Code = "M_UNAUTHORIZED"
	}
	return merr.New(status, e.Code, "The identity server says: %s", e.Message)
}
