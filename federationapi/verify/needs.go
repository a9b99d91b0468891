package verify

import (
	"net/http"

	"hearth/federationapi/keys"
	"hearth/federationapi/xmatrix"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// How many signatures of an event are looked at. Servers sign with one key, seldom with
// two; what is more costs the sender its event.
const (
	maxKeys    = 3 // of one server
	maxServers = 3 // of a third-party invite
)

// policyKey is the id of the key with which a policy server signs. It is no key of the
// server ("Validating Policy Server signatures").
const policyKey = "ed25519:policy_server"

// need is a demand for a signature: all signatures of one server with keys that are
// known and valid must hold, and one must be there.
type need struct {
	server string
	wants  []keys.Want
	// any: the wants are of several servers, one good signature is enough.
	any bool
}

// needsOf lists the signatures that an event must have ("Validating hashes and signatures
// on received events", and for restricted joins the authorization rules of rooms). Who
// authorises a restricted join need not have signed it if it is own.
func needsOf(e *pdu.Event, own string) ([]need, error) {
	sender := pdu.Domain(e.Sender)
	var out []need
	add := func(server string) error {
		for _, n := range out {
			if n.server == server {
				return nil
			}
		}
		n := need{server: server, wants: wantsOf(e, server)}
		if len(n.wants) == 0 {
			return unsigned(server)
		}
		out = append(out, n)
		return nil
	}
	var err error
	if thirdParty(e) {
		// Any server of the room may have made it; the signature in its content is what allows it.
		n := need{server: sender, wants: wantsOf(e, ""), any: true}
		if len(n.wants) == 0 {
			return nil, unsigned(sender)
		}
		out = append(out, n)
	} else if err = add(sender); err != nil {
		return nil, err
	}
	if e.Version.EventFormat == 1 {
		_, domain, idErr := pdu.ParseEventID(e.EventID)
		if idErr != nil || domain == "" {
			return nil, merr.BadJSON("The event id names no server")
		}
		if domain != sender {
			err = add(domain)
		}
	}
	if by := authorizer(e); err == nil && by != "" && by != own {
		err = add(by)
	}
	return out, err
}

// thirdParty reports whether an event is an invite that a third-party invite has led to.
func thirdParty(e *pdu.Event) bool {
	if e.Type != "m.room.member" || e.StateKey == nil {
		return false
	}
	membership, _ := pdu.GetString(e.Content, "membership")
	invite, _ := pdu.Get(e.Content, "third_party_invite")
	return membership == "invite" && pdu.Kind(invite) == '{'
}

// authorizer is the server whose user lets somebody into a restricted room; "" if there
// is none.
func authorizer(e *pdu.Event) string {
	if !e.Version.RestrictedJoins || e.Type != "m.room.member" || e.StateKey == nil {
		return ""
	}
	if membership, _ := pdu.GetString(e.Content, "membership"); membership != "join" {
		return ""
	}
	by, ok := pdu.Get(e.Content, "join_authorised_via_users_server")
	if !ok {
		return ""
	}
	user, _ := pdu.String(by)
	return pdu.Domain(user)
}

// wantsOf lists the keys with which a server signed an event, or any server if it is "".
func wantsOf(e *pdu.Event, server string) []keys.Want {
	at := keys.At(e.Version, e.OriginServerTS)
	var out []keys.Want
	count := map[string]int{}
	for _, s := range e.Signatures() {
		if server != "" && s.Server != server || !xmatrix.ValidKeyID(s.KeyID) || s.KeyID == policyKey {
			continue
		}
		if count[s.Server] == maxKeys || len(count) == maxServers && count[s.Server] == 0 {
			continue
		}
		count[s.Server]++
		out = append(out, keys.Want{Server: s.Server, KeyID: s.KeyID, At: at})
	}
	return out
}

// verify checks the signatures with the keys that were found.
func (n need) verify(e *pdu.Event, found map[keys.Want]keys.Result) error {
	failed := error(unsigned(n.server))
	good := false
	for _, w := range n.wants {
		result := found[w]
		if result.Err != nil || result.Key == nil {
			if failed = result.Err; failed == nil {
				failed = unsigned(w.Server)
			}
			continue
		}
		err := e.VerifySignature(w.Server, w.KeyID, result.Key)
		switch {
		case err == nil && n.any:
			return nil
		case err == nil:
			good = true
		case !n.any:
			return err
		default:
			failed = err
		}
	}
	if good {
		return nil
	}
	return failed
}

func unsigned(server string) *merr.Error {
	return merr.New(http.StatusUnauthorized, "M_UNAUTHORIZED", "The event lacks a valid signature of %s", server)
}
