package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"hearth/internal/merr"
)

// maxShown is how much of the answer of a service is shown to it, in bytes.
const maxShown = 4 << 10

// Ping asks a service whether it can be reached ("Pinging") and returns how long it
// took. transactionID may be empty. Errors are those of POST /appservice/{id}/ping.
// A success ends the wait for the next attempt to send a transaction.
func (s *Service) Ping(ctx context.Context, r *Registration, transactionID string) (time.Duration, error) {
	if r.URL == "" {
		return 0, merr.New(http.StatusBadRequest, "M_URL_NOT_SET", "The application service has no URL configured")
	}
	content := map[string]string{}
	if transactionID != "" {
		content["transaction_id"] = transactionID
	}
	body, err := json.Marshal(content)
	if err != nil {
		return 0, err
	}
	p := s.peerOf(r)
	began := time.Now()
	answer, err := p.ask(ctx, &request{
		method: http.MethodPost, path: "/_matrix/app/v1/ping", body: body, timeout: s.tune.query, once: true,
	})
	took := time.Since(began)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, ctx.Err()
	case timedOut(err):
		return 0, merr.New(http.StatusGatewayTimeout, "M_CONNECTION_TIMEOUT", "The application service did not answer in time")
	case errors.Is(err, errAnswer):
		return 0, merr.New(http.StatusBadGateway, "M_BAD_STATUS", "The answer of the application service is too large")
	case err != nil:
		return 0, merr.New(http.StatusBadGateway, "M_CONNECTION_FAILED", "The application service cannot be reached").WithCause(err)
	case answer.status != http.StatusOK:
		shown := strings.ToValidUTF8(string(answer.body[:min(len(answer.body), maxShown)]), "\uFFFD")
		return 0, merr.New(http.StatusBadGateway, "M_BAD_STATUS", "The application service answered with status %d", answer.status).
			With("status", answer.status).With("body", shown)
	}
	p.reached()
	return took, nil
}
