package remoteapi

import (
	"encoding/base64"

	"hearth/internal/bus"
)

// How an id stands in the form of a StateIDsResponse: in which lists it is, and whether it
// is written as the hash that it stands for.
const (
	inState = 1 << iota
	inAuth
	asHash
)

// AppendWire is the form on the bus: each id once, hashes in binary, so that about 30,000 ids fit into
// a message. The lists come back in another order.
func (r *StateIDsResponse) AppendWire(dst []byte) []byte {
	in := make(map[string]uint64, len(r.State)+len(r.AuthChain))
	order := make([]string, 0, len(r.State)+len(r.AuthChain))
	add := func(ids []string, list uint64) {
		for _, id := range ids {
			if in[id] == 0 {
				order = append(order, id)
			}
			in[id] |= list
		}
	}
	add(r.State, inState)
	add(r.AuthChain, inAuth)
	e := bus.NewEncoder(dst)
	for _, id := range order {
		if hash, ok := hashOf(id); ok {
			e.Uint(in[id] | asHash)
			e.Bytes(hash)
			continue
		}
		e.Uint(in[id])
		e.String(id)
	}
	return e.Buffer()
}

// hashOf is the hash of which an id is the URL-safe text (room versions from 4 on).
func hashOf(id string) ([]byte, bool) {
	if len(id) != 44 || id[0] != '$' {
		return nil, false
	}
	hash, err := base64.RawURLEncoding.Strict().DecodeString(id[1:])
	return hash, err == nil
}

// ParseWire reads the form of AppendWire.
func (r *StateIDsResponse) ParseWire(src []byte) error {
	*r = StateIDsResponse{}
	d := bus.NewDecoder(src)
	for d.Len() > 0 && d.Err() == nil {
		flags := d.Uint()
		var id string
		if flags&asHash != 0 {
			id = "$" + base64.RawURLEncoding.EncodeToString(d.Bytes())
		} else {
			id = d.String()
		}
		if flags&inState != 0 {
			r.State = append(r.State, id)
		}
		if flags&inAuth != 0 {
			r.AuthChain = append(r.AuthChain, id)
		}
	}
	return d.Err()
}
