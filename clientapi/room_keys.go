package clientapi

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// backupData is a key of a backup (client-server API, KeyBackupData).
type backupData struct {
	FirstMessageIndex *int64          `json:"first_message_index"`
	ForwardedCount    *int64          `json:"forwarded_count"`
	IsVerified        *bool           `json:"is_verified"`
	SessionData       json.RawMessage `json:"session_data"`
}

type roomBackup struct {
	Sessions map[string]backupData `json:"sessions"`
}

type wholeBackup struct {
	Rooms map[string]roomBackup `json:"rooms"`
}

// putBackupKeys is PUT /room_keys/keys.
func (s *Server) putBackupKeys(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[wholeBackup](r)
	if err != nil {
		return nil, err
	}
	if req.Rooms == nil {
		return nil, merr.MissingParam("rooms")
	}
	return s.storeBackupKeys(r, req.Rooms)
}

// putRoomBackupKeys is PUT /room_keys/keys/{roomId}.
func (s *Server) putRoomBackupKeys(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[roomBackup](r)
	if err != nil {
		return nil, err
	}
	if req.Sessions == nil {
		return nil, merr.MissingParam("sessions")
	}
	return s.storeBackupKeys(r, map[string]roomBackup{r.Param("roomId"): *req})
}

// putBackupKey is PUT /room_keys/keys/{roomId}/{sessionId}.
func (s *Server) putBackupKey(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[backupData](r)
	if err != nil {
		return nil, err
	}
	return s.storeBackupKeys(r, map[string]roomBackup{
		r.Param("roomId"): {Sessions: map[string]backupData{r.Param("sessionId"): *req}},
	})
}

// backupPart bounds the keys that are handed to the user store at a time, in bytes.
const backupPart = 512 << 10

// storeBackupKeys checks all keys before it stores the first. They are stored in
// parts; a client whose request failed sends it again, which does no harm.
func (s *Server) storeBackupKeys(r *matrixhttp.Request, rooms map[string]roomBackup) (any, error) {
	version, err := versionOf(r)
	if err != nil {
		return nil, err
	}
	parts := [][]userapi.BackupKey{nil}
	size := 0
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		for _, session := range slices.Sorted(maps.Keys(rooms[room].Sessions)) {
			d := rooms[room].Sessions[session]
			if err := d.check(); err != nil {
				return nil, err
			}
			if !plainText(room) || !plainText(session) {
				return nil, merr.InvalidParam("Invalid room or session id")
			}
			more := len(room) + len(session) + len(d.SessionData) + 64
			if size > 0 && size+more > backupPart {
				parts, size = append(parts, nil), 0
			}
			size += more
			parts[len(parts)-1] = append(parts[len(parts)-1], userapi.BackupKey{
				RoomID: room, SessionID: session, FirstIndex: *d.FirstMessageIndex, Forwarded: *d.ForwardedCount,
				Verified: *d.IsVerified, SessionData: d.SessionData,
			})
		}
	}
	var state *userapi.BackupState
	for _, keys := range parts {
		state, err = userapi.PutBackupKeys.Do(r.Context(), s.bus, &userapi.PutBackupKeysRequest{
			UserID: r.Identity.UserID, Version: version, Keys: keys,
		})
		if err != nil {
			return nil, err
		}
	}
	return state, nil
}

func (d *backupData) check() error {
	switch {
	case d.FirstMessageIndex == nil:
		return merr.MissingParam("first_message_index")
	case d.ForwardedCount == nil:
		return merr.MissingParam("forwarded_count")
	case d.IsVerified == nil:
		return merr.MissingParam("is_verified")
	case len(d.SessionData) == 0:
		return merr.MissingParam("session_data")
	case *d.FirstMessageIndex < 0 || *d.ForwardedCount < 0:
		return merr.InvalidParam("first_message_index and forwarded_count must not be negative")
	case pdu.Kind(d.SessionData) != '{':
		return merr.BadJSON("session_data must be an object")
	}
	return nil
}

func versionOf(r *matrixhttp.Request) (string, error) {
	query := r.Query()
	version := query.String("version")
	if err := query.Err(); err != nil {
		return "", err
	}
	if version == "" {
		return "", merr.MissingParam("version")
	}
	return version, nil
}

// backupKeysRequest names what a path and query name.
func backupKeysRequest(r *matrixhttp.Request) (*userapi.BackupKeysRequest, error) {
	version, err := versionOf(r)
	return &userapi.BackupKeysRequest{
		UserID: r.Identity.UserID, Version: version, RoomID: r.Param("roomId"), SessionID: r.Param("sessionId"),
	}, err
}

// deleteBackupKeys is DELETE /room_keys/keys, …/{roomId} and …/{roomId}/{sessionId}.
func (s *Server) deleteBackupKeys(r *matrixhttp.Request) (any, error) {
	req, err := backupKeysRequest(r)
	if err != nil {
		return nil, err
	}
	answer, err := userapi.DeleteBackupKeys.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// backupKey is GET /room_keys/keys/{roomId}/{sessionId}.
func (s *Server) backupKey(r *matrixhttp.Request) (any, error) {
	req, err := backupKeysRequest(r)
	if err != nil {
		return nil, err
	}
	answer, err := userapi.GetBackupKeys.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	if len(answer.Keys) != 1 {
		return nil, merr.NotFound("Key not found")
	}
	return matrixhttp.Raw(appendBackupKey(nil, &answer.Keys[0])), nil
}

// backupKeys is GET /room_keys/keys and …/{roomId}. A backup may be large, so it is
// sent as it is read. The first page is read before: its error is the answer.
func (s *Server) backupKeys(r *matrixhttp.Request) (any, error) {
	req, err := backupKeysRequest(r)
	if err != nil {
		return nil, err
	}
	page, err := userapi.GetBackupKeys.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	return matrixhttp.Stream(func(w io.Writer) error {
		out := backupWriter{one: req.RoomID != ""}
		for {
			if _, err := w.Write(out.page(page, !page.More)); err != nil || !page.More {
				return err
			}
			last := page.Keys[len(page.Keys)-1]
			req.AfterRoom, req.AfterSession = last.RoomID, last.SessionID
			if page, err = userapi.GetBackupKeys.Do(r.Context(), s.bus, req); err != nil {
				return err
			}
		}
	}), nil
}

// backupWriter writes keys, which come in order of room, as the JSON of a backup.
type backupWriter struct {
	one   bool // of one room
	begun bool
	room  string // that is open
}

func (b *backupWriter) page(p *userapi.BackupKeysResponse, last bool) []byte {
	var dst []byte
	if !b.begun {
		b.begun = true
		if b.one {
			dst = append(dst, `{"sessions":{`...)
		} else {
			dst = append(dst, `{"rooms":{`...)
		}
	}
	for i := range p.Keys {
		dst = b.key(dst, &p.Keys[i])
	}
	if !last {
		return dst
	}
	if b.room != "" && !b.one {
		dst = append(dst, `}}`...)
	}
	return append(dst, `}}`...)
}

func (b *backupWriter) key(dst []byte, k *userapi.BackupKey) []byte {
	first := b.room == ""
	switch {
	case k.RoomID == b.room || b.one && !first:
		dst = append(dst, ',')
	case !b.one:
		if !first {
			dst = append(dst, `}},`...)
		}
		dst = append(pdu.AppendString(dst, k.RoomID), `:{"sessions":{`...)
	}
	b.room = k.RoomID
	return appendBackupKey(append(pdu.AppendString(dst, k.SessionID), ':'), k)
}

func appendBackupKey(dst []byte, k *userapi.BackupKey) []byte {
	dst = strconv.AppendInt(append(dst, `{"first_message_index":`...), k.FirstIndex, 10)
	dst = strconv.AppendInt(append(dst, `,"forwarded_count":`...), k.Forwarded, 10)
	dst = strconv.AppendBool(append(dst, `,"is_verified":`...), k.Verified)
	dst = append(append(dst, `,"session_data":`...), k.SessionData...)
	return append(dst, '}')
}
