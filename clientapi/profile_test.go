package clientapi

import (
	"testing"

	"hearth/internal/merr"
)

// TestProfileNewsSurvive: a changed profile reaches the rooms although they could not be
// told when it changed, and the process ended before they could.
func TestProfileNewsSurvive(t *testing.T) {
	dir := t.TempDir()
	in := func(d *Deps) { d.DataDir = dir }
	const subject = "roomserver.update_profile"
	t.Run("before", func(t *testing.T) {
		s := start(t, true, in)
		token := s.user("alice")
		s.rooms.failWith(merr.Unavailable("away"))
		s.must("PUT", "/profile/@alice:test/displayname", token, `{"displayname":"First"}`)
		s.rooms.awaited(t, subject)
		s.must("PUT", "/profile/@alice:test/displayname", token, `{"displayname":"Second"}`)
		s.must("PUT", "/profile/@alice:test/org.example.x", token, `{"org.example.x":1}`)
		asked(t, "again", s.rooms.awaited(t, subject), `{"UserID":"@alice:test","Profile":{"displayname":"Second"},"After":""}`)
	})
	t.Run("after", func(t *testing.T) {
		s := start(t, true, in)
		asked(t, "after a restart", s.rooms.awaited(t, subject), `{"UserID":"@alice:test","Profile":{"displayname":"Second"},"After":""}`)
	})
	t.Run("told", func(t *testing.T) {
		s := start(t, true, in)
		s.must("PUT", "/profile/@bob:test/displayname", s.user("bob"), `{"displayname":"Bob"}`)
		asked(t, "only the new one", s.rooms.awaited(t, subject), `{"UserID":"@bob:test","Profile":{"displayname":"Bob"},"After":""}`)
	})
}
