package rooms

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestAliasesAreSafe: nobody deletes or moves what another made, or takes it along by
// claiming to be the successor of a room.
func TestAliasesAreSafe(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, mallory := s.user("alice"), s.user("mallory")
		room := alice.create(`{"preset":"public_chat","room_alias_name":"den"}`)
		mallory.join(room)
		const alias = "#den:" + name
		at := "/directory/room/" + url.PathEscape(alias)
		other := mallory.create(`{"preset":"public_chat"}`)
		mallory.refused(403, "M_FORBIDDEN", "DELETE", at, "")
		mallory.refused(409, "M_UNKNOWN", "PUT", at, `{"room_id":"`+other+`"}`)
		alice.refused(409, "M_UNKNOWN", "PUT", at, `{"room_id":"`+room+`"}`)
		mallory.refused(400, "M_BAD_ALIAS", "PUT", in(other)+"/state/m.room.canonical_alias", `{"alias":"`+alias+`"}`)
		mallory.refused(403, "M_FORBIDDEN", "PUT", in(room)+"/state/m.room.canonical_alias", `{}`)
		mallory.refused(403, "M_FORBIDDEN", "PUT", "/directory/list/room/"+url.PathEscape(room), `{"visibility":"public"}`)

		alice.must("PUT", "/user/"+alice.id+"/rooms/"+url.PathEscape(room)+"/tags/u.mine", `{"order":0.5}`)
		alice.must("PUT", "/pushrules/global/room/"+url.PathEscape(room), `{"actions":["notify"]}`)
		successor := mallory.create(`{"preset":"public_chat","creation_content":{"predecessor":{"room_id":"` + room + `","event_id":"$x"}}}`)
		alice.join(successor)
		if a := alice.must("GET", at, ""); a.text("room_id") != room {
			t.Errorf("the alias went to %s", a.raw)
		}
		if a := alice.must("GET", "/user/"+alice.id+"/rooms/"+url.PathEscape(successor)+"/tags", ""); len(a.at("tags").(map[string]any)) != 0 {
			t.Errorf("tags went to %s", a.raw)
		}
		alice.refused(404, "M_NOT_FOUND", "GET", "/pushrules/global/room/"+url.PathEscape(successor), "")
		mallory.refused(403, "M_FORBIDDEN", "POST", in(room)+"/upgrade", `{"new_version":"11"}`)
		mallory.refused(403, "M_FORBIDDEN", "PUT", in(room)+"/state/m.room.tombstone", `{"body":"gone","replacement_room":"`+successor+`"}`)
	})
}

// endless is a body that nobody should read.
type endless struct{ read int64 }

// Read gives zeros.
func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

// TestOddRequests: an empty token is none, and a form of a gigabyte is not read.
func TestOddRequests(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice := s.user("alice")
		ask := func(token, kind string, length int64, body io.Reader) int {
			r := httptest.NewRequest(http.MethodPost, "/_matrix/client/v3/createRoom", body)
			r.Header.Set("Authorization", token)
			r.Header.Set("Content-Type", kind)
			r.ContentLength = length
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			return w.Code
		}
		for _, token := range []string{"Bearer ", "Bearer", "", "Bearer  ", "Basic " + alice.token, alice.token, "Bearer " + alice.token + " x"} {
			if got := ask(token, "application/json", 2, http.NoBody); got != 401 {
				t.Errorf("%q: %d", token, got)
			}
		}
		for _, length := range []int64{1 << 30, -1} {
			body := &endless{}
			if got := ask("Bearer "+alice.token, "multipart/form-data; boundary=x", length, body); got != 413 && got != 415 || body.read > 4<<20 {
				t.Errorf("length %d: %d after %d bytes", length, got, body.read)
			}
		}
	})
}
