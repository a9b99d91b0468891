package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// EncryptionOptions say where messages must be encrypted: in rooms that not everybody can
// join, in rooms that are somebody's direct chat, in all rooms.
type EncryptionOptions struct{ Private, Direct, All bool }

func (o EncryptionOptions) any() bool { return o.Private || o.Direct || o.All }

// encryptionType is the type of the state that makes a room encrypted.
const encryptionType = "m.room.encryption"

// encrypt turns encryption on in a room that is about to be made, if that is required
// and nobody has done it. Spaces have no messages.
func (o EncryptionOptions) encrypt(create *roomapi.CreateRequest) {
	kind, _ := pdu.GetString(create.CreationContent, "type")
	if kind == "m.space" || !o.All && !(o.Direct && create.IsDirect) && !(o.Private && !willBePublic(create)) {
		return
	}
	for i, e := range create.InitialState {
		if e.Type == encryptionType && e.StateKey == "" {
			if algorithm, _ := pdu.GetString(e.Content, "algorithm"); algorithm == "" {
				create.InitialState[i].Content = megolm()
			}
			return
		}
	}
	create.InitialState = append(create.InitialState, roomapi.StateEvent{Type: encryptionType, Content: megolm()})
}

func megolm() json.RawMessage { return json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`) }

// willBePublic reports whether everybody will be able to join a room.
func willBePublic(create *roomapi.CreateRequest) bool {
	for _, e := range create.InitialState {
		if rule, ok := pdu.GetString(e.Content, "join_rule"); ok && e.Type == "m.room.join_rules" && e.StateKey == "" {
			return rule == "public"
		}
	}
	return create.Preset == "public_chat" || create.Preset == "" && create.Public
}

// readable reports whether events of a type say what people write: these must not be
// sent in the clear where encryption is required. Others, such as reactions, are sent so by
// clients in encrypted rooms too.
func readable(eventType string) bool {
	return slices.Contains([]string{"m.room.message", "m.sticker"}, eventType) || strings.HasPrefix(eventType, "m.poll.") ||
		strings.HasPrefix(eventType, "org.matrix.msc3381.poll.") || strings.HasPrefix(eventType, "org.matrix.msc1767.")
}

// mayBeReadable refuses a message in the clear in a room where encryption is required.
func (s *Server) mayBeReadable(r *matrixhttp.Request, room, eventType string) error {
	o := s.options.Encryption
	if !o.any() || !readable(eventType) {
		return nil
	}
	required := o.All
	var err error
	if !required && o.Private {
		required, err = s.closed(r.Context(), room, r.Identity.UserID)
	}
	if err == nil && !required && o.Direct {
		required, err = s.direct(r.Context(), room, r.Identity.UserID)
	}
	if err != nil {
		return err
	}
	if required {
		return merr.New(http.StatusForbidden, "M_FORBIDDEN", "Messages in this room must be encrypted")
	}
	return nil
}

// closed reports whether not everybody can join a room that the user is in.
func (s *Server) closed(ctx context.Context, room, user string) (bool, error) {
	rules, err := roomapi.GetStateEvent.Do(ctx, s.bus, &roomapi.StateEventRequest{RoomID: room, UserID: user, Type: "m.room.join_rules"})
	if errors.Is(err, merr.NotFound("")) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	rule, _ := pdu.GetString(rules.Content(), "join_rule")
	return rule != "public", nil
}

// direct reports whether a room is one of the user's direct chats.
func (s *Server) direct(ctx context.Context, room, user string) (bool, error) {
	data, err := userapi.GetAccountData.Do(ctx, s.bus, &userapi.AccountDataRequest{UserID: user, Type: "m.direct"})
	if errors.Is(err, merr.NotFound("")) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found := false
	pdu.Members(data.Content, func(_ string, rooms []byte) bool {
		pdu.Elements(rooms, func(val []byte) bool {
			id, _ := pdu.String(val)
			found = found || id == room
			return !found
		})
		return !found
	})
	return found, nil
}

// features name for which presets rooms will be encrypted whatever the client says.
func (o EncryptionOptions) features() map[string]bool {
	return map[string]bool{
		"io.element.e2ee_forced.private":         o.Private || o.All,
		"io.element.e2ee_forced.trusted_private": o.Private || o.Direct || o.All,
		"io.element.e2ee_forced.public":          o.All,
	}
}

// withEncryption adds the features that tell clients what is required.
func (s *Server) withEncryption(features map[string]bool) map[string]bool {
	maps.Copy(features, s.options.Encryption.features())
	return features
}
