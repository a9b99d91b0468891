// Package antispam asks webhooks whether something may be done, before it is, in the format of
// the Synapse module synapse-http-antispam, which Draupnir and Meowlnir speak.
//
// Each callback is POST <url>/<callback> with the parameters as a JSON object. An answer 2xx
// allows; any other refuses, and its body is the Matrix error that the client gets.
package antispam

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

// Callbacks.
const (
	UserMayJoinRoom        = "user_may_join_room"
	AcceptMakeJoin         = "accept_make_join"
	UserMayInvite          = "user_may_invite"
	FederatedUserMayInvite = "federated_user_may_invite"
	UserMaySend3PIDInvite  = "user_may_send_3pid_invite"
	UserMayCreateRoom      = "user_may_create_room"
	UserMayCreateRoomAlias = "user_may_create_room_alias"
	UserMayPublishRoom     = "user_may_publish_room"
	CheckUsernameForSpam   = "check_username_for_spam"
	CheckLoginForSpam      = "check_login_for_spam"
	CheckEventForSpam      = "check_event_for_spam"
	ping                   = "ping"
)

const (
	maxAtOnce = 64       // requests to one webhook that wait for an answer
	maxInBack = 256      // requests to one webhook whose answer nobody waits for
	maxAnswer = 64 << 10 // bytes
	pingEvery = 5 * time.Second
)

// Webhook is somebody to ask.
type Webhook struct {
	URL           string // callbacks are below it
	Authorization string // the bearer token; empty: none
	// Callbacks are what it is asked; none: everything.
	Callbacks []string
	// Async callbacks are told and not waited for.
	Async []string
	// FailOpen are the callbacks that are allowed when there is no answer to be had.
	FailOpen []string
	Timeout  time.Duration
	// Ping asks for a sign of life at start, until there is one.
	Ping bool
}

// Client asks webhooks. A nil Client allows everything.
type Client struct {
	hooks   []*hook
	log     *logrus.Entry
	answers *prometheus.CounterVec
}

type hook struct {
	Webhook
	http   *http.Client
	asking chan struct{} // one for each request that waits
	back   chan struct{}
}

// New returns a client, nil if there is nobody to ask. metrics may be nil.
func New(hooks []Webhook, log *logrus.Entry, metrics prometheus.Registerer) (*Client, error) {
	if len(hooks) == 0 {
		return nil, nil
	}
	c := &Client{log: log, answers: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hearth_antispam_answers_total", Help: "Answers of antispam webhooks.",
	}, []string{"callback", "answer"})}
	if metrics != nil {
		if err := metrics.Register(c.answers); err != nil {
			return nil, err
		}
	}
	for _, h := range hooks {
		h.URL = strings.TrimRight(h.URL, "/")
		c.hooks = append(c.hooks, &hook{
			Webhook: h, asking: make(chan struct{}, maxAtOnce), back: make(chan struct{}, maxInBack),
			http: &http.Client{Timeout: h.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		})
	}
	return c, nil
}

// Asks reports whether anybody is asked about a callback, so that nothing is prepared for nobody.
func (c *Client) Asks(callback string) bool {
	return c != nil && slices.ContainsFunc(c.hooks, func(h *hook) bool { return h.asks(callback) })
}

func (h *hook) asks(callback string) bool {
	return len(h.Callbacks) == 0 || slices.Contains(h.Callbacks, callback)
}

// Ask asks all webhooks in their order; the first that refuses decides.
func (c *Client) Ask(ctx context.Context, callback string, params any) error {
	if !c.Asks(callback) {
		return nil
	}
	body, err := json.Marshal(params)
	if err != nil {
		return merr.Internal(err)
	}
	for _, h := range c.hooks {
		if !h.asks(callback) {
			continue
		}
		if slices.Contains(h.Async, callback) {
			c.tell(h, callback, body)
			continue
		}
		if err := c.ask(ctx, h, callback, body); err != nil {
			return err
		}
	}
	return nil
}

// tell sends a callback whose answer does not count. It is lost if too many are on their way.
func (c *Client) tell(h *hook, callback string, body []byte) {
	select {
	case h.back <- struct{}{}:
	default:
		c.answers.WithLabelValues(callback, "lost").Inc()
		return
	}
	go func() {
		defer func() { <-h.back }()
		if _, _, err := h.post(context.Background(), callback, body); err != nil {
			c.log.WithError(err).WithField("callback", callback).Warn("antispam: not told")
		}
	}()
}

func (c *Client) ask(ctx context.Context, h *hook, callback string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	select {
	case h.asking <- struct{}{}:
	case <-ctx.Done():
		return c.noAnswer(h, callback, ctx.Err())
	}
	status, answer, err := h.post(ctx, callback, body)
	<-h.asking
	if err != nil {
		return c.noAnswer(h, callback, err)
	}
	if status >= 200 && status < 300 {
		c.answers.WithLabelValues(callback, "allow").Inc()
		return nil
	}
	refused := readError(status, answer)
	if refused == nil {
		return c.noAnswer(h, callback, merr.Unavailable("status %d and no JSON", status))
	}
	c.answers.WithLabelValues(callback, "refuse").Inc()
	return refused
}

// noAnswer decides for a webhook that does not.
func (c *Client) noAnswer(h *hook, callback string, err error) error {
	c.answers.WithLabelValues(callback, "none").Inc()
	open := slices.Contains(h.FailOpen, callback)
	c.log.WithError(err).WithFields(logrus.Fields{"callback": callback, "allowed": open}).Warn("antispam: no answer")
	if open {
		return nil
	}
	return merr.New(http.StatusForbidden, "M_UNKNOWN", "The server could not find out whether this is allowed")
}

func (h *hook) post(ctx context.Context, callback string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/"+callback, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if h.Authorization != "" {
		req.Header.Set("Authorization", "Bearer "+h.Authorization)
	}
	resp, err := h.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// maxMembers bounds what a refusal may add to the error.
const maxMembers = 20

// readError reads a refusal; nil if it is none.
func readError(status int, answer []byte) *merr.Error {
	var body map[string]any
	if json.Unmarshal(answer, &body) != nil || body == nil {
		return nil
	}
	code, _ := body["errcode"].(string)
	if code == "" || len(code) > 255 {
		code = "M_FORBIDDEN"
	}
	text, _ := body["error"].(string)
	if text == "" {
		text = "This is not allowed"
	}
	if status < 400 || status > 499 || status == http.StatusUnauthorized || status == http.StatusNotFound {
		status = http.StatusForbidden // a client must not take it for something about itself
	}
	e := merr.New(status, code, "%s", text)
	n := 0
	for key, value := range body {
		if key != "errcode" && key != "error" && n < maxMembers {
			e = e.With(key, value)
			n++
		}
	}
	return e
}

// Run asks the webhooks that are to be pinged for a sign of life, until each has given one.
func (c *Client) Run(ctx context.Context) {
	if c == nil {
		return
	}
	for _, h := range c.hooks {
		for h.Ping && ctx.Err() == nil && !c.ping(ctx, h) {
			select {
			case <-ctx.Done():
			case <-time.After(pingEvery):
			}
		}
	}
}

func (c *Client) ping(ctx context.Context, h *hook) bool {
	id := rand.Text()[:8]
	body, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		return false
	}
	status, answer, err := h.post(ctx, ping, body)
	var got struct{ ID, Status string }
	if err == nil {
		err = json.Unmarshal(answer, &got)
	}
	if err != nil || status != http.StatusOK || got.ID != id || got.Status != "ok" {
		c.log.WithError(err).WithField("status", status).Error("antispam: the webhook gives no sign of life")
		return false
	}
	c.log.Info("antispam: the webhook is there")
	return true
}
