package federationapi

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Limits of a request for the keys of other servers.
const (
	maxQueried   = 100 // servers
	maxQuery     = 64 << 10
	notaryAtOnce = 8
	notaryTime   = 20 * time.Second
)

// queryOne is GET /_matrix/key/v2/query/{serverName} (server-server API, "Querying Keys
// Through Another Server").
func (s *Server) queryOne(r *matrixhttp.Request) (any, error) {
	server := r.Param("serverName")
	if _, _, err := pdu.ParseServerName(server); err != nil {
		return nil, err
	}
	validAt := s.deps.Now()
	if text := r.HTTP.URL.Query().Get("minimum_valid_until_ts"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, merr.InvalidParam("minimum_valid_until_ts must be a number of milliseconds")
		}
		validAt = time.UnixMilli(ms)
	}
	return s.notarize(r.Context(), []asked{{server, validAt}})
}

// asked names a server and the time at which its keys should be valid.
type asked struct {
	server  string
	validAt time.Time
}

// queryMany is POST /_matrix/key/v2/query. Which keys are asked for does not matter: a
// server's answer holds all.
func (s *Server) queryMany(r *matrixhttp.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	servers, ok := pdu.Get(body, "server_keys")
	if !ok || pdu.Kind(servers) != '{' {
		return nil, merr.BadJSON("server_keys must be an object")
	}
	var all []asked
	pdu.Members(servers, func(server string, criteria []byte) bool {
		if _, _, err = pdu.ParseServerName(server); err == nil && pdu.Kind(criteria) != '{' {
			err = merr.BadJSON("server_keys must hold objects")
		}
		if len(all) == maxQueried {
			err = merr.InvalidParam("More than %d servers", maxQueried)
		}
		validAt := s.deps.Now()
		pdu.Members(criteria, func(_ string, criterion []byte) bool {
			if ms, ok := pdu.GetInt(criterion, "minimum_valid_until_ts"); ok && time.UnixMilli(ms).After(validAt) {
				validAt = time.UnixMilli(ms)
			}
			return true
		})
		all = append(all, asked{server, validAt})
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return s.notarize(r.Context(), all)
}

// notarize signs what servers say of their keys. Those of which nothing is known in time
// are left out.
func (s *Server) notarize(ctx context.Context, all []asked) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, notaryTime)
	defer cancel()
	answers := make([]json.RawMessage, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(notaryAtOnce)
	for i, a := range all {
		group.Go(func() (err error) {
			answers[i], err = s.answerFor(ctx, a)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	known := make([]json.RawMessage, 0, len(answers))
	for _, a := range answers {
		if a != nil {
			known = append(known, a)
		}
	}
	return map[string]any{"server_keys": known}, nil
}

func (s *Server) answerFor(ctx context.Context, a asked) (json.RawMessage, error) {
	if a.server == s.deps.ServerName {
		return s.ownKeys()
	}
	answer, err := s.keys.Answer(ctx, a.server, a.validAt)
	if err != nil || answer == nil {
		return nil, err
	}
	return pdu.SignJSON(answer, s.deps.Key)
}
