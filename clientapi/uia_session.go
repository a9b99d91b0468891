package clientapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/pdu"
)

const (
	// maxInteractions bounds the memory of open sessions, in bytes. A flood of new
	// ones pushes the oldest out; rate limits by address keep it small.
	maxInteractions = 16 << 20
	interactionTTL  = time.Hour
	// maxKeptBody is the largest body that a session keeps, in bytes. A request with a
	// larger one has to be sent whole every time.
	maxKeptBody = 8 << 10
)

// uiaSession is one user-interactive authentication. It lives in this process; when
// it is lost, the client begins anew.
type uiaSession struct {
	id        string
	operation [sha256.Size]byte
	flows     [][]string
	bodySum   [sha256.Size]byte // of the request's body, without auth
	body      json.RawMessage   // that body, if it is not too large to keep
	user      string            // who asks, if that is known
	what      string            // what the request would do, for people

	mu        sync.Mutex // guards the rest
	completed []string
	spent     bool
	until     time.Time
	// What stages have brought.
	registration registerRequest
	token        string             // of a registration
	threePIDs    []userapi.ThreePID // validated
	proved       string             // the user whose password was given, if nobody was known before
}

// complete reports whether all stages of a flow are done. The caller holds mu.
func (u *uiaSession) complete() bool {
	return slices.ContainsFunc(u.flows, func(flow []string) bool {
		return !slices.ContainsFunc(flow, func(stage string) bool { return !slices.Contains(u.completed, stage) })
	})
}

// has reports whether a stage is part of a flow.
func (u *uiaSession) has(stage string) bool {
	return slices.ContainsFunc(u.flows, func(flow []string) bool { return slices.Contains(flow, stage) })
}

// undo takes back a stage whose result turned out useless.
func (u *uiaSession) undo(stage string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.completed = slices.DeleteFunc(u.completed, func(s string) bool { return s == stage })
}

func (u *uiaSession) describe() []any {
	flows := make([]any, len(u.flows))
	for i, flow := range u.flows {
		flows[i] = map[string]any{"stages": flow}
	}
	return flows
}

// interactions are the open sessions of this process.
type interactions struct {
	now  func() time.Time
	open *lru.Cache[string, *uiaSession]
}

func newInteractions(now func() time.Time) *interactions {
	return &interactions{now: now, open: lru.New[string, *uiaSession](maxInteractions, func(_ string, u *uiaSession) int {
		return 2<<10 + len(u.body) // the first part is what the fields may grow to
	})}
}

// operationOf joins what a session is bound to.
func operationOf(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(h, strconv.Itoa(len(p))+":"+p) // a hash never fails
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// begin makes a session, which is remembered when a challenge tells its id.
func (i *interactions) begin(operation [sha256.Size]byte, flows [][]string) *uiaSession {
	var b [18]byte
	_, _ = rand.Read(b[:]) // never fails
	return &uiaSession{
		id: base64.RawURLEncoding.EncodeToString(b[:]), operation: operation, flows: flows,
		until: i.now().Add(interactionTTL),
	}
}

// bind ties a session to a body.
func (u *uiaSession) bind(body json.RawMessage) {
	u.bodySum = sha256.Sum256(body)
	if len(body) <= maxKeptBody {
		u.body = body
	}
}

// keep remembers a session. The caller holds its lock.
func (i *interactions) keep(u *uiaSession) {
	u.until = i.now().Add(interactionTTL)
	i.open.GetOrPut(u.id, u)
}

// find returns the open session of an operation, nil if there is none.
func (i *interactions) find(id string, operation [sha256.Size]byte) *uiaSession {
	u := i.get(id)
	if u == nil || u.operation != operation {
		return nil
	}
	return u
}

// get returns an open session, nil if there is none.
func (i *interactions) get(id string) *uiaSession {
	u, ok := i.open.Get(id)
	if !ok {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := i.now(); !now.Before(u.until) || u.until.Sub(now) > interactionTTL {
		i.open.Delete(id)
		return nil
	}
	return u
}

// spend ends a session and reports whether the caller is the one who ended it.
func (i *interactions) spend(u *uiaSession) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	first := !u.spent
	u.spent = true
	i.open.Delete(u.id)
	return first
}

// reopen lets a session be used again after what it allowed has failed.
func (i *interactions) reopen(u *uiaSession) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spent = false
	i.keep(u)
}

// body splits the body of a request into auth and the rest. If the rest is empty and
// a session of the same operation is open, the rest is that of its first request.
func (s *Server) body(r *matrixhttp.Request) (*authData, json.RawMessage, error) {
	object, err := r.Object()
	if err != nil {
		return nil, nil, err
	}
	both := struct {
		Auth *authData `json:"auth"`
	}{}
	if err := matrixhttp.Unmarshal(object, &both); err != nil {
		return nil, nil, err
	}
	rest := without(object, "auth")
	if string(rest) == "{}" && both.Auth != nil {
		if session := s.interactions.find(both.Auth.Session, confirmOperation(r)); session != nil && len(session.body) > 0 {
			rest = session.body
		}
	}
	return both.Auth, rest, nil
}

// without copies a canonical object without one member.
func without(object []byte, member string) json.RawMessage {
	out := []byte{'{'}
	pdu.Members(object, func(key string, value []byte) bool {
		if key == member {
			return true
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = pdu.AppendString(out, key)
		out = append(append(out, ':'), value...)
		return true
	})
	return append(out, '}')
}
