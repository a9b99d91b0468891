package appservice

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const thirdParty = "/thirdparty/"

// Protocols describes all third-party protocols whose services answer: the body of
// GET /thirdparty/protocols.
func (s *Service) Protocols(ctx context.Context) map[string]any {
	out := map[string]any{}
	if s == nil {
		return out
	}
	var names []string
	for _, p := range s.peers {
		for _, name := range p.Protocols {
			if p.URL != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	var mu sync.Mutex
	var work sync.WaitGroup
	for _, name := range names {
		work.Go(func() {
			if protocol := s.protocol(ctx, name); protocol != nil {
				mu.Lock()
				defer mu.Unlock()
				out[name] = protocol
			}
		})
	}
	work.Wait()
	return out
}

// Protocol describes one protocol, 404 M_NOT_FOUND if no service knows it.
func (s *Service) Protocol(ctx context.Context, name string) (any, error) {
	if s != nil {
		if protocol := s.protocol(ctx, name); protocol != nil {
			return protocol, nil
		}
	}
	return nil, unknownProtocol()
}

func unknownProtocol() error { return merr.NotFound("Unknown third-party protocol") }

// protocol is the answer of the first service about a protocol with the instances of
// all, nil if none knows it.
func (s *Service) protocol(ctx context.Context, name string) *protocol {
	if known, ok := s.protocols.get(name); ok {
		return known
	}
	bridges := s.bridges(name)
	if len(bridges) == 0 {
		return nil
	}
	var found *protocol
	for _, p := range bridges {
		answer, err := p.lookUp(ctx, "protocol/"+url.PathEscape(name), nil)
		if err != nil {
			continue
		}
		described, ok := readProtocol(answer, p.ID)
		switch {
		case !ok:
			p.log.WithField("protocol", name).Warn("the application service describes its protocol in a way that is not in the spec")
		case found == nil:
			found = described
		default:
			found.Instances = append(found.Instances, described.Instances...)
		}
	}
	if ctx.Err() == nil {
		s.protocols.put(name, found)
	}
	return found
}

// bridges lists the services of a protocol.
func (s *Service) bridges(protocol string) []*peer {
	var out []*peer
	for _, p := range s.peers {
		if p.URL != "" && slices.Contains(p.Protocols, protocol) {
			out = append(out, p)
		}
	}
	return out
}

// protocol is what clients see of a protocol (definition Protocol).
type protocol struct {
	UserFields     []string                   `json:"user_fields"`
	LocationFields []string                   `json:"location_fields"`
	Icon           string                     `json:"icon"`
	FieldTypes     map[string]json.RawMessage `json:"field_types"`
	Instances      []instance                 `json:"instances"`
}

type instance struct {
	Description string                     `json:"desc"`
	Icon        string                     `json:"icon,omitempty"`
	Fields      map[string]json.RawMessage `json:"fields"`
	NetworkID   string                     `json:"network_id"`
	InstanceID  string                     `json:"instance_id"`
}

// instanceID names an instance among those of all services.
func instanceID(service, network string) string { return service + "|" + network }

func readProtocol(body []byte, service string) (*protocol, bool) {
	canonical, err := pdu.Canonical(body, false)
	if err != nil {
		return nil, false
	}
	p := &protocol{UserFields: []string{}, LocationFields: []string{}, FieldTypes: map[string]json.RawMessage{}, Instances: []instance{}}
	if err := json.Unmarshal(canonical, p); err != nil {
		return nil, false
	}
	for i := range p.Instances {
		in := &p.Instances[i]
		in.InstanceID = instanceID(service, in.NetworkID)
		if in.Fields == nil {
			in.Fields = map[string]json.RawMessage{}
		}
	}
	return p, p.UserFields != nil && p.LocationFields != nil && p.FieldTypes != nil && p.Instances != nil
}

// Locations finds places of a third-party network: by protocol and fields, or, with
// an empty protocol, by the alias in the field alias. Results is an array of
// locations; 404 M_NOT_FOUND if there are none.
func (s *Service) Locations(ctx context.Context, protocol string, fields url.Values) ([]json.RawMessage, error) {
	return s.places(ctx, "location", protocol, fields, "alias", func(r *Registration) bool { return r.HasAlias(fields.Get("alias")) })
}

// Users is Locations for users; the field of the other direction is userid.
func (s *Service) Users(ctx context.Context, protocol string, fields url.Values) ([]json.RawMessage, error) {
	return s.places(ctx, "user", protocol, fields, "userid", func(r *Registration) bool { return r.HasUser(fields.Get("userid")) })
}

// places asks the services of a protocol, or those that concerns selects. Each result
// must have the texts key and protocol and the object fields.
func (s *Service) places(ctx context.Context, kind, protocol string, fields url.Values, key string, concerns func(*Registration) bool) ([]json.RawMessage, error) {
	if s == nil {
		return nil, unknownProtocol()
	}
	path := kind
	var peers []*peer
	if protocol != "" {
		path += "/" + url.PathEscape(protocol)
		if peers = s.bridges(protocol); len(peers) == 0 {
			return nil, unknownProtocol()
		}
	} else {
		for _, p := range s.peers {
			if p.URL != "" && concerns(p.Registration) {
				peers = append(peers, p)
			}
		}
	}
	var out []json.RawMessage
	for _, p := range peers {
		answer, err := p.lookUp(ctx, path, fields)
		if err != nil {
			continue
		}
		out = append(out, results(answer, key)...)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(out) == 0 {
		return nil, merr.NotFound("Nothing was found on the third-party network")
	}
	return out, nil
}

// results returns the elements of an array that are what they should be.
func results(body []byte, key string) []json.RawMessage {
	if !json.Valid(body) {
		return nil
	}
	wrapped, err := pdu.Canonical(append(append([]byte(`{"r":`), body...), '}'), false)
	if err != nil {
		return nil
	}
	list, _ := pdu.Get(wrapped, "r")
	var out []json.RawMessage
	pdu.Elements(list, func(element []byte) bool {
		_, hasKey := pdu.GetString(element, key)
		_, hasProtocol := pdu.GetString(element, "protocol")
		fields, _ := pdu.Get(element, "fields")
		if hasKey && hasProtocol && len(fields) > 0 && fields[0] == '{' {
			out = append(out, element)
		}
		return true
	})
	return out
}

// lookUp asks once: somebody waits, and other services may have the answer.
func (p *peer) lookUp(ctx context.Context, path string, query url.Values) ([]byte, error) {
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer, err := p.ask(ctx, &request{
		method: http.MethodGet, path: "/_matrix/app/v1" + thirdParty + path, legacy: "/_matrix/app/unstable" + thirdParty + path,
		query: query, timeout: p.s.tune.query,
	})
	if err == nil && answer.status != http.StatusOK {
		err = statusError(answer.status)
	}
	if err != nil {
		p.log.WithError(err).Debug("a third-party lookup failed")
		return nil, err
	}
	return answer.body, nil
}

const (
	protocolTTL = time.Minute
	// absentTTL is the same for a protocol that no service has described.
	absentTTL = 5 * time.Second
)

// protocolCache remembers descriptions. Names come from the configuration, so their
// number is bounded.
type protocolCache struct {
	now func() time.Time

	mu    sync.Mutex // guards known
	known map[string]knownProtocol
}

type knownProtocol struct {
	protocol *protocol
	until    time.Time
}

func newProtocolCache(now func() time.Time) *protocolCache {
	return &protocolCache{now: now, known: map[string]knownProtocol{}}
}

func (c *protocolCache) get(name string) (*protocol, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[name]
	return k.protocol, ok && c.now().Before(k.until)
}

func (c *protocolCache) put(name string, p *protocol) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ttl := protocolTTL
	if p == nil {
		ttl = absentTTL
	}
	c.known[name] = knownProtocol{p, c.now().Add(ttl)}
}
