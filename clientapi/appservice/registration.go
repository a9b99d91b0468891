package appservice

import (
	"crypto/sha256"
	"regexp"
	"strings"
)

// Registration is an application service as its file describes it ("Registration").
// Tokens are not exported, so that a registration can be logged.
type Registration struct {
	ID string
	// URL has no slash at the end; empty: the service wants no traffic.
	URL string
	// Sender is the user id of sender_localpart.
	Sender string
	// Users, Aliases and Rooms are the namespaces.
	Users, Aliases, Rooms []Namespace
	// RateLimited says that limits hold for masqueraded users; never for Sender.
	RateLimited bool
	// Protocols are the third-party protocols that the service bridges.
	Protocols []string
	// Ephemeral says that the service wants typing notifications and receipts.
	Ephemeral bool
	// Encryption says that the service wants messages to its devices and news of keys
	// (MSC3202 and MSC4203) instead of asking /sync for them.
	Encryption bool

	// stableEphemeral and unstableEphemeral are the names that it asked for: that of the
	// spec and the one from before v1.13.
	stableEphemeral, unstableEphemeral bool
	asToken                            [sha256.Size]byte
	hsToken                            string
	server                             string // name of this server
}

// Namespace is a set of ids.
type Namespace struct {
	Exclusive bool
	// Regex is the expression as the file has it. It must match at the beginning of an
	// id; what follows the match does not matter.
	Regex string

	compiled *regexp.Regexp
}

func newNamespace(exclusive bool, expression string) (Namespace, error) {
	compiled, err := regexp.Compile(`\A(?:` + expression + `)`)
	return Namespace{Exclusive: exclusive, Regex: expression, compiled: compiled}, err
}

func matches(list []Namespace, id string, exclusive bool) bool {
	for _, n := range list {
		if (n.Exclusive || !exclusive) && n.compiled.MatchString(id) {
			return true
		}
	}
	return false
}

// HasUser reports whether a user is in the service's namespaces or is its sender.
// Only users of this server are.
func (r *Registration) HasUser(userID string) bool {
	return userID == r.Sender || r.local(userID) && matches(r.Users, userID, false)
}

// HasAlias reports whether a room alias is in the service's namespaces.
func (r *Registration) HasAlias(alias string) bool { return matches(r.Aliases, alias, false) }

// HasRoom reports whether a room is in the service's namespaces.
func (r *Registration) HasRoom(roomID string) bool { return matches(r.Rooms, roomID, false) }

// ownsUser reports whether nobody else may make the user.
func (r *Registration) ownsUser(userID string) bool {
	return userID == r.Sender || r.local(userID) && matches(r.Users, userID, true)
}

func (r *Registration) local(userID string) bool {
	_, domain, _ := strings.Cut(userID, ":")
	return domain == r.server
}

// Registrations are all application services of the server, in the order of the
// configuration. They do not change; nil holds none.
type Registrations struct {
	all []*Registration
	// Warnings tell of things in the files that have no effect.
	Warnings []string
}

// All lists the registrations.
func (rs *Registrations) All() []*Registration {
	if rs == nil {
		return nil
	}
	return rs.all
}

// ByToken finds the service whose as_token has the given SHA-256; nil if there is none.
func (rs *Registrations) ByToken(hash [sha256.Size]byte) *Registration {
	for _, r := range rs.All() {
		if r.asToken == hash {
			return r
		}
	}
	return nil
}

// ByID finds a service; nil if there is none.
func (rs *Registrations) ByID(id string) *Registration {
	for _, r := range rs.All() {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// UserTaken reports whether a service other than except has the exclusive right to
// make the user.
func (rs *Registrations) UserTaken(userID string, except *Registration) bool {
	for _, r := range rs.All() {
		if r != except && r.ownsUser(userID) {
			return true
		}
	}
	return false
}

// AliasTaken reports whether a service other than except has the exclusive right to
// make the alias.
func (rs *Registrations) AliasTaken(alias string, except *Registration) bool {
	for _, r := range rs.All() {
		if r != except && matches(r.Aliases, alias, true) {
			return true
		}
	}
	return false
}

// Unlimited reports whether rate limits do not hold for a user.
func (rs *Registrations) Unlimited(userID string) bool {
	for _, r := range rs.All() {
		if userID == r.Sender || !r.RateLimited && r.HasUser(userID) {
			return true
		}
	}
	return false
}
