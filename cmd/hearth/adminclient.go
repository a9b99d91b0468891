package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" // the admin API's own choice; as an HMAC it is sound
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const registerPath = "/_synapse/admin/v1/register"

// adminClient talks to the admin API of a running server.
type adminClient struct {
	server, secret string
	http           *http.Client
}

func newAdminClient(server, secret string) *adminClient {
	return &adminClient{
		server: strings.TrimRight(server, "/"), secret: secret,
		// No proxy: the server is ours, and the request holds a password.
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
	}
}

type account struct {
	name, password string
	admin          bool
}

// answer is what the endpoint may say.
type answer struct {
	Nonce   string `json:"nonce"`
	UserID  string `json:"user_id"`
	Errcode string `json:"errcode"`
	Error   string `json:"error"`
}

// nonce asks for a nonce, which is good for one account and a minute.
func (c *adminClient) nonce(ctx context.Context) (string, error) {
	status, a, err := c.do(ctx, http.MethodGet, nil)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusOK && a.Nonce != "":
		return a.Nonce, nil
	default:
		return "", c.refused(status, a)
	}
}

// register makes the account and returns the user id.
func (c *adminClient) register(ctx context.Context, nonce string, who account) (string, error) {
	body, err := json.Marshal(map[string]any{
		"nonce": nonce, "username": who.name, "password": who.password, "admin": who.admin,
		"mac": c.mac(nonce, who), "inhibit_login": true,
	})
	if err != nil {
		return "", err
	}
	status, a, err := c.do(ctx, http.MethodPost, body)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusOK && a.UserID != "":
		return a.UserID, nil
	case a.Errcode == "M_USER_IN_USE":
		return "", fmt.Errorf("the name %s is taken", who.name)
	case status == http.StatusForbidden:
		return "", fmt.Errorf("%s does not accept the shared secret; "+
			"if registration.shared_secret was changed, restart Hearth, else check --config and --server", c.server)
	default:
		return "", c.refused(status, a)
	}
}

// mac proves that we know the secret.
func (c *adminClient) mac(nonce string, who account) string {
	role := "notadmin"
	if who.admin {
		role = "admin"
	}
	mac := hmac.New(sha1.New, []byte(c.secret))
	mac.Write([]byte(strings.Join([]string{nonce, who.name, who.password, role}, "\x00")))
	return hex.EncodeToString(mac.Sum(nil))
}

func (c *adminClient) refused(status int, a *answer) error {
	if a.Error == "" || status == http.StatusNotFound {
		return fmt.Errorf("%s is no admin API of Hearth (it answers %d); check --config and --server", c.server, status)
	}
	return fmt.Errorf("the server refuses: %s (%s)", a.Error, a.Errcode)
}

func (c *adminClient) do(ctx context.Context, method string, body []byte) (int, *answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server+registerPath, bytes.NewReader(body))
	if err != nil {
		return 0, nil, usageError{fmt.Sprintf("--server %s is no address such as http://127.0.0.1:8009", c.server)}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, nil, fmt.Errorf("nothing answers at %s; is Hearth running? Start it with: hearth serve", c.server)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("cannot reach the admin API: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return 0, nil, fmt.Errorf("cannot read the answer of the admin API: %w", err)
	}
	a := &answer{}
	if json.Unmarshal(text, a) != nil { // a stranger: the status says it
		a = &answer{}
	}
	return res.StatusCode, a, nil
}
