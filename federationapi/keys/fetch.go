package keys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	fetchTimeout = 30 * time.Second
	tryTimeout   = 20 * time.Second
	maxAnswer    = 32 << 10  // bytes, of a server
	maxNotary    = 256 << 10 // bytes, of a notary
	maxAnswers   = 32        // of one server, by a notary
	maxSigned    = 4         // signatures of a notary that are tried
	maxPending   = 2048
	maxFetching  = 512
	maxAsking    = 64
)

// When to ask again.
const (
	againAfter   = 30 * time.Second // it answered, but perhaps not with what was needed
	firstBackOff = time.Minute
	maxBackOff   = 10 * time.Minute
)

// source is where the keys of a server may come from: itself, or the notaries.
type source struct {
	server   string
	notaries bool
}

// wait says when a source may be asked again.
type wait struct {
	until    time.Time
	failures int // in a row
	err      error
}

// refresh asks a source, unless it was asked a short while ago. Concurrent calls share
// the work, which goes on if the first caller leaves. The error says why the source gave
// nothing, now or the last time.
func (r *Ring) refresh(ctx context.Context, from source) error {
	// A server name holds no space.
	result := r.flight.DoChan(fmt.Sprint(from.server, " ", from.notaries), func() (any, error) {
		now := r.o.Now()
		last, _ := r.waits.Get(from)
		if now.Before(last.until) {
			return nil, last.err
		}
		select {
		case r.pending <- struct{}{}:
			defer func() { <-r.pending }()
		default:
			return nil, merr.Busy(time.Second)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		select {
		case r.fetching <- struct{}{}:
			defer func() { <-r.fetching }()
		case <-ctx.Done():
			return nil, merr.Busy(time.Second)
		}
		err := r.fetch(ctx, from)
		next := wait{until: now.Add(againAfter)}
		if err != nil {
			next = wait{until: now.Add(min(firstBackOff<<min(last.failures, 16), maxBackOff)), failures: last.failures + 1, err: err}
		}
		r.waits.Put(from, next)
		return nil, err
	})
	select {
	case got := <-result:
		return got.Err
	case <-ctx.Done():
		return merr.Unavailable("The request was cancelled").WithCause(ctx.Err())
	}
}

func (r *Ring) fetch(ctx context.Context, from source) error {
	if !from.notaries {
		return r.fetchDirect(ctx, from.server)
	}
	var all []error
	for _, notary := range r.o.Notaries {
		if notary == r.o.Own.ServerName || notary == from.server {
			continue
		}
		err := r.fetchNotary(ctx, notary, from.server)
		if err == nil {
			return nil
		}
		all = append(all, fmt.Errorf("notary %s: %w", notary, err))
	}
	return errors.Join(all...)
}

// fetchDirect asks the server itself; TLS shows that it is the one.
func (r *Ring) fetchDirect(ctx context.Context, server string) error {
	_, object, err := r.o.Client.Do(ctx, transport.Request{
		Destination: server, Method: http.MethodGet, Path: "/_matrix/key/v2/server",
		Unsigned: true, Timeout: tryTimeout, MaxAnswer: maxAnswer,
	})
	if err != nil {
		return err
	}
	now := r.o.Now()
	a, err := parse(server, object, now)
	if err != nil {
		return err
	}
	return r.learn(ctx, server, []*answer{a}, true, now)
}

// fetchNotary asks a notary. Its own key must come from itself.
func (r *Ring) fetchNotary(ctx context.Context, notary, server string) error {
	query := append(pdu.AppendString([]byte(`{"server_keys":{`), server), `:{}}}`...)
	_, object, err := r.o.Client.Do(ctx, transport.Request{
		Destination: notary, Method: http.MethodPost, Path: "/_matrix/key/v2/query", Body: query,
		Unsigned: true, Timeout: tryTimeout, MaxAnswer: maxNotary,
	})
	if err != nil {
		return err
	}
	list, _ := pdu.Get(object, "server_keys")
	now := r.o.Now()
	var good []*answer
	n := 0
	err = errors.New("it knows nothing of the server")
	pdu.Elements(list, func(entry []byte) bool {
		n++
		if signed := r.signedBy(ctx, notary, entry); signed != nil {
			err = signed
			return n < maxAnswers
		}
		a, wrong := parse(server, entry, now)
		if wrong != nil {
			err = wrong
			return n < maxAnswers
		}
		good = append(good, a)
		return n < maxAnswers
	})
	if len(good) == 0 {
		return err
	}
	return r.learn(ctx, server, good, false, now)
}

// signedBy checks that a notary stands for an answer.
func (r *Ring) signedBy(ctx context.Context, notary string, object []byte) error {
	signatures, _ := pdu.Get(object, "signatures")
	of, _ := pdu.Get(signatures, notary)
	err := errors.New("it did not sign its answer")
	n := 0
	pdu.Members(of, func(keyID string, _ []byte) bool {
		n++
		var key []byte
		if key, err = r.key(ctx, notary, keyID, r.o.Now(), false); err == nil {
			err = pdu.VerifyJSON(object, notary, keyID, key)
		}
		return err != nil && n < maxSigned
	})
	return err
}

// learn stores what was said of a server.
func (r *Ring) learn(ctx context.Context, server string, answers []*answer, direct bool, now time.Time) error {
	s, err := r.o.DB.Update(ctx, server, func(known *storage.Server) *storage.Server {
		for _, a := range answers {
			known = merge(known, a, direct, now)
		}
		return known
	})
	if err != nil {
		return err
	}
	r.cache.Put(server, s)
	return nil
}

// Answer returns what a server said last of its keys, canonical and signed by it, for
// somebody who asks us as a notary. It asks the server if what is known will not be
// valid at validAt or is past the half of its life. nil: there is nothing.
func (r *Ring) Answer(ctx context.Context, server string, validAt time.Time) ([]byte, error) {
	if _, _, err := pdu.ParseServerName(server); err != nil {
		return nil, err
	}
	s, err := r.known(ctx, server)
	if err != nil {
		return nil, err
	}
	half := s.Fetched + (s.ValidUntil-s.Fetched)/2
	if s.Answer != nil && s.ValidUntil >= validAt.UnixMilli() && r.o.Now().UnixMilli() < half {
		return s.Answer, nil
	}
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return s.Answer, nil
	}
	if err := r.refresh(ctx, source{server: server}); err != nil {
		return s.Answer, nil // what it said before is what there is
	}
	s, err = r.known(ctx, server)
	if err != nil {
		return nil, err
	}
	return s.Answer, nil
}
