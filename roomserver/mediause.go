package roomserver

import (
	"bytes"
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/store"
	"hearth/roomserver/storage"
)

const (
	// maxMediaUses is how many files of one event are noted.
	maxMediaUses = 16
	// goneMediaStep is how many files go at once.
	goneMediaStep = 100
)

// mediaUses are the files of this server that an event shows. The row says who has sent it. A file goes with the last
// message that shows it; what a sticker, a state event or a profile shows may be kept elsewhere.
func (s *Server) mediaUses(e *stored, sender int64) (uses []storage.MediaUse) {
	for _, uri := range localMedia(e.ev.Content, s.serverName) {
		uses = append(uses, storage.MediaUse{URI: uri, Nid: e.nid, Sender: sender, Owns: e.ev.StateKey == nil && e.ev.Type == "m.room.message"})
	}
	return uses
}

// localMedia finds the mxc:// URIs of a server in a content.
func localMedia(content []byte, serverName string) (uris []string) {
	prefix := append([]byte(`mxc://`), serverName...)
	prefix = append(prefix, '/')
	for len(uris) < maxMediaUses {
		at := bytes.Index(content, prefix)
		if at < 0 {
			return uris
		}
		end := at + len(prefix)
		for end < len(content) && isMediaID(content[end]) {
			end++
		}
		if n := end - at - len(prefix); n > 0 && n <= 255 {
			uris = append(uris, string(content[at:end]))
		}
		content = content[end:]
	}
	return uris
}

func isMediaID(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// dropMedia lets go the files whose last event is gone.
func (s *Server) dropMedia(ctx context.Context) error {
	for after := ""; ; {
		list, err := s.store.GoneMedia(ctx, after, goneMediaStep)
		if err != nil || len(list) == 0 {
			return err
		}
		senders := make([]int64, len(list))
		for i, g := range list {
			senders[i] = g.Sender
		}
		names, err := s.names.texts(ctx, senders)
		if err != nil {
			return err
		}
		req := &userapi.DropMediaRequest{}
		for _, g := range list {
			req.Files = append(req.Files, userapi.DroppedFile{URI: g.URI, UserID: names[g.Sender]})
			after = g.URI
		}
		if _, err := userapi.DropMedia.Do(ctx, s.bus, req); err != nil {
			return err
		}
		if err := s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.SettleMedia(tx, list) }); err != nil {
			return err
		}
	}
}
