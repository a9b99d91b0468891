package devicekeys

import (
	"context"
	"slices"
	"sort"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/pdu"
)

// queryChunk is the size in bytes at which a part of an answer is sent.
const queryChunk = 64 << 10

// query streams the keys of users (POST /keys/query). Users and devices that are not
// there are left out; of users of other servers it tells what is kept, and whether their
// servers have to be asked.
func (k *Keys) query(ctx context.Context, req *userapi.QueryKeysRequest, send func([]byte) error) error {
	viewer, _ := k.localpart(req.Viewer)
	var users []string
	devices := map[string][]string{}
	for id, wanted := range req.Users {
		name, ok := k.localpart(id)
		if _, domain, err := pdu.ParseUserID(id); !ok && (err != nil || domain == k.serverName) {
			continue
		} else if !ok {
			name = id
		}
		users = append(users, name)
		devices[name] = wanted
	}
	sort.Strings(users)
	var buf []byte
	for len(users) > 0 {
		n := min(storage.MaxIdentities, len(users))
		// Sending waits for the receiver, so it does not happen within a snapshot.
		found, err := k.users.Identities(ctx, viewer, users[:n])
		if err != nil {
			return err
		}
		var parts []userapi.KeyPart
		for _, localpart := range users[:n] {
			parts = k.appendParts(parts, localpart, viewer, only(found[localpart], devices[localpart]))
		}
		for i := range parts {
			if buf = parts[i].Append(buf); len(buf) >= queryChunk {
				if err := send(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
		}
		users = users[n:]
	}
	if len(buf) == 0 {
		return nil
	}
	return send(buf)
}

// only leaves out the devices that are not wanted; all are if wanted is empty.
func only(id *storage.Identity, wanted []string) *storage.Identity {
	if len(wanted) == 0 {
		return id
	}
	names := make(map[string]bool, len(wanted))
	for _, device := range wanted {
		names[device] = true
	}
	id.Devices = slices.DeleteFunc(id.Devices, func(d storage.DeviceKey) bool { return !names[d.Device] })
	return id
}

// appendParts writes what viewer may see of a user, who is named by the full id if it is
// one of another server.
func (k *Keys) appendParts(parts []userapi.KeyPart, localpart, viewer string, id *storage.Identity) []userapi.KeyPart {
	userID := k.fullID(localpart)
	if userID == localpart && (!id.Known || id.Stale) {
		parts = append(parts, userapi.KeyPart{Part: userapi.AskPart, UserID: userID, Keys: k.own(id.Signatures)})
	}
	later := map[string][]storage.Signature{}
	for _, s := range id.Signatures {
		later[s.Key] = append(later[s.Key], s)
	}
	for _, d := range id.Devices {
		obj := k.sign(d.Keys, later[d.Device])
		unsigned := []byte("{}")
		if d.DisplayName != "" {
			unsigned = append(pdu.AppendString([]byte(`{"device_display_name":`), d.DisplayName), '}')
		}
		obj, _ = pdu.Set(obj, "unsigned", unsigned)
		parts = append(parts, userapi.KeyPart{Part: userapi.DeviceKeysPart, UserID: userID, DeviceID: d.Device, Keys: obj})
	}
	for _, c := range id.Cross {
		part := map[int64]int{
			storage.Master: userapi.MasterPart, storage.SelfSigning: userapi.SelfSigningPart, storage.UserSigning: userapi.UserSigningPart,
		}[c.Purpose]
		if c.Purpose == storage.UserSigning && localpart != viewer {
			continue
		}
		parts = append(parts, userapi.KeyPart{Part: part, UserID: userID, Keys: k.sign(c.Keys, later[c.ID])})
	}
	return parts
}

// own writes the signatures that the viewer has made on the keys of a user of another
// server, by key.
func (k *Keys) own(signatures []storage.Signature) []byte {
	all := []byte("{}")
	for _, s := range signatures {
		signed, ok := pdu.Get(all, s.Key)
		if !ok {
			signed = []byte("{}")
		}
		all, _ = pdu.Set(all, s.Key, k.sign(signed, []storage.Signature{s}))
	}
	return all
}

// sign adds signatures to an object.
func (k *Keys) sign(obj []byte, signatures []storage.Signature) []byte {
	for _, s := range signatures {
		all, ok := pdu.Get(obj, "signatures")
		if !ok {
			all = []byte("{}")
		}
		signer := k.fullID(s.Signer)
		own, ok := pdu.Get(all, signer)
		if !ok {
			own = []byte("{}")
		}
		own, _ = pdu.Set(own, s.SignerKey, pdu.AppendString(nil, s.Signature))
		all, _ = pdu.Set(all, signer, own)
		obj, _ = pdu.Set(obj, "signatures", all)
	}
	return obj
}
