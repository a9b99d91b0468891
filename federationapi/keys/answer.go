package keys

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"hearth/federationapi/storage"
	"hearth/federationapi/xmatrix"
	"hearth/internal/pdu"
)

const (
	// maxValidity is how far into the future a server's word on its keys reaches.
	maxValidity = 7 * 24 * time.Hour
	maxListed   = 100 // keys in one answer
	maxKept     = 200 // keys of one server, past ones too
)

// answer is what a server says of its keys, checked.
type answer struct {
	keys       []storage.Key
	body       []byte
	validUntil int64 // milliseconds
}

// parse checks an answer of /_matrix/key/v2/server, a canonical object, and that the
// server says it: each current key must have signed it. A key that did not, or that has
// not the length of a key, is left out; an answer without any other is refused.
func parse(server string, object []byte, now time.Time) (*answer, error) {
	if name, _ := pdu.GetString(object, "server_name"); name != server {
		return nil, errors.New("the answer is of another server")
	}
	until, ok := pdu.GetInt(object, "valid_until_ts")
	if !ok || until < 0 {
		return nil, errors.New("the answer has no valid_until_ts")
	}
	a := &answer{body: object, validUntil: min(until, now.Add(maxValidity).UnixMilli())}
	current := map[string]bool{}
	err := listed(object, "verify_keys", func(id string, key, _ []byte) {
		if pdu.VerifyJSON(object, server, id, key) == nil {
			current[id] = true
			a.keys = append(a.keys, storage.Key{ID: id, Public: key, ValidUntil: a.validUntil})
		}
	})
	if err != nil {
		return nil, err
	}
	if len(a.keys) == 0 {
		return nil, errors.New("the answer is not signed with any of its keys")
	}
	err = listed(object, "old_verify_keys", func(id string, key, entry []byte) {
		expired, ok := pdu.GetInt(entry, "expired_ts")
		if !ok || expired < 0 || current[id] {
			return
		}
		a.keys = append(a.keys, storage.Key{ID: id, Public: key, ValidUntil: min(expired, now.UnixMilli()), Ended: true})
	})
	return a, err
}

// listed calls f for each key that can be one.
func listed(object []byte, list string, f func(id string, key, entry []byte)) error {
	keys, _ := pdu.Get(object, list)
	n := 0
	pdu.Members(keys, func(id string, entry []byte) bool {
		n++
		text, _ := pdu.GetString(entry, "key")
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
		if err == nil && len(key) == ed25519.PublicKeySize && xmatrix.ValidKeyID(id) {
			f(id, key, entry)
		}
		return n <= maxListed
	})
	if n > maxListed {
		return errors.New("the answer has too many keys")
	}
	return nil
}

// merge returns what is known of a server after an answer. What the server itself says
// wins over what a notary says it has said, and a key that it does not name any more
// has ended.
func merge(old *storage.Server, a *answer, direct bool, now time.Time) *storage.Server {
	s := &storage.Server{Answer: old.Answer, ValidUntil: old.ValidUntil, Fetched: old.Fetched}
	if direct || s.Fetched == 0 {
		s.Fetched = now.UnixMilli()
	}
	if direct {
		s.Answer, s.ValidUntil = a.body, a.validUntil
	}
	keys := make(map[string]storage.Key, len(old.Keys)+len(a.keys))
	for _, k := range old.Keys {
		if direct && !k.Ended {
			k.ValidUntil, k.Ended = min(k.ValidUntil, now.UnixMilli()), true
		}
		keys[k.ID] = k
	}
	for _, k := range a.keys {
		k.Direct = direct
		if known, ok := keys[k.ID]; ok && !direct {
			if known.Direct && (known.Ended || !bytes.Equal(known.Public, k.Public)) || k.ValidUntil <= known.ValidUntil {
				continue
			}
			k.Direct = known.Direct
		}
		keys[k.ID] = k
	}
	for _, k := range keys {
		s.Keys = append(s.Keys, k)
	}
	slices.SortFunc(s.Keys, func(a, b storage.Key) int {
		return cmp.Or(cmp.Compare(b.ValidUntil, a.ValidUntil), cmp.Compare(a.ID, b.ID))
	})
	s.Keys = s.Keys[:min(len(s.Keys), maxKept)]
	return s
}
