package encryption

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"hearth/test/harness"
)

// message is an encrypted message and who must be able to read it.
type message struct {
	event, body string
	sender      *device
	readers     []*device
}

// shown is what a device shows of an encrypted event.
type shown struct{ Session, Body, Error string }

// story is a room of people whose devices are of different implementations.
type story struct {
	t        *testing.T
	server   *harness.Server
	room     string
	members  int
	devices  []*device // that are logged in
	messages []message
	turn     int
}

func password(user string) string { return "the password of " + user }

// login logs a person in on a new device, which everybody in the room learns.
func (s *story) login(k kind, label, user string) *device {
	s.t.Helper()
	d := open(s.t, k, label, s.server.URL(), user, password(user))
	if s.room != "" {
		await(d, "the room", "ready", map[string]any{"room": s.room, "members": s.members}, yes)
	}
	s.devices = append(s.devices, d)
	s.acquaint()
	return d
}

// acquaint waits until each device knows exactly the devices that there are.
func (s *story) acquaint() {
	s.t.Helper()
	if s.room == "" {
		return
	}
	owners := map[string][]string{}
	for _, d := range s.devices {
		owners[d.user] = append(owners[d.user], d.id)
	}
	for _, d := range s.devices {
		for user, all := range owners {
			others := func(ids []string) []string { // nobody encrypts for themselves
				ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == d.id })
				slices.Sort(ids)
				return ids
			}
			await(d, fmt.Sprintf("devices %v of %s", all, user), "devices", map[string]any{"user": user}, func(got []string) bool {
				return slices.Equal(others(got), others(all))
			})
		}
	}
}

// everybodySpeaks has every device say something, and all must read it.
func (s *story) everybodySpeaks(about string) {
	s.t.Helper()
	for _, d := range s.devices {
		body := fmt.Sprintf("%s, says %s", about, d.label)
		event := ask[string](d, "send", map[string]any{"room": s.room, "body": body})
		s.messages = append(s.messages, message{event: event, body: body, sender: d, readers: slices.Clone(s.devices)})
	}
	s.check()
}

// check waits until every device shows every message that it must be able to read.
func (s *story) check() {
	s.t.Helper()
	for _, d := range s.devices {
		await(d, "all messages", "read", map[string]any{"room": s.room}, func(got map[string]shown) bool {
			for _, m := range s.messages {
				if slices.Contains(m.readers, d) && got[m.event].Body != m.body {
					return false
				}
			}
			return true
		})
	}
}

// explain looks at what devices cannot read: nothing but what was sent before they
// logged in, and the client says so too.
func (s *story) explain() (failures int) {
	s.t.Helper()
	for _, d := range s.devices {
		for event, got := range ask[map[string]shown](d, "read", map[string]any{"room": s.room}) {
			i := slices.IndexFunc(s.messages, func(m message) bool { return m.event == event })
			switch {
			case i < 0:
				s.t.Errorf("%s shows %s, which nobody sent", d.label, event)
			case got.Body != "" && got.Body != s.messages[i].body:
				s.t.Errorf("%s shows %q instead of %q", d.label, got.Body, s.messages[i].body)
			case got.Body == "" && slices.Contains(s.messages[i].readers, d):
				s.t.Errorf("%s cannot read %q: %s", d.label, s.messages[i].body, got.Error)
			case got.Body == "":
				failures++
				if d.kind.name == jsSDK.name && !slices.Contains(historical, got.Error) {
					s.t.Errorf("%s cannot read %q, sent before it logged in, because of %s", d.label, s.messages[i].body, got.Error)
				}
			}
		}
	}
	return failures
}

// historical are the reasons of matrix-js-sdk for what was sent before the device was made.
var historical = []string{
	"HISTORICAL_MESSAGE_NO_KEY_BACKUP", "HISTORICAL_MESSAGE_BACKUP_UNCONFIGURED", "HISTORICAL_MESSAGE_WORKING_BACKUP", "HISTORICAL_MESSAGE_USER_NOT_JOINED",
}

// kill kills a process of the server with SIGKILL, another one each time, and starts it again.
func (s *story) kill() {
	s.t.Helper()
	processes := s.server.Processes()
	p := processes[s.turn%len(processes)]
	s.turn++
	p.Kill()
	p.Restart()
	for _, d := range s.devices {
		ask[any](d, "wake", nil)
	}
}

// sessions are the Megolm sessions of the last message of each device, by label.
func (s *story) sessions(reader *device) map[string]string {
	s.t.Helper()
	found := map[string]string{}
	got := ask[map[string]shown](reader, "read", map[string]any{"room": s.room})
	for _, m := range s.messages {
		found[m.sender.label] = got[m.event].Session
	}
	return found
}

// verify has two devices of a person compare the short authentication string.
func (s *story) verify(asking, asked *device) {
	s.t.Helper()
	ask[any](asking, "verify", map[string]any{"user": asked.user, "device": asked.id})
	shows := func(text *string) bool { return text != nil }
	a := await(asking, "the string to compare", "sas", nil, shows)
	s.kill()
	b := await(asked, "the string to compare", "sas", nil, shows)
	if *a != *b {
		s.t.Fatalf("%s shows %s, %s shows %s", asking.label, *a, asked.label, *b)
	}
	ask[any](asking, "confirm", nil)
	ask[any](asked, "confirm", nil)
	await(asking, "the verification to be done", "verified", nil, yes)
	await(asked, "the verification to be done", "verified", nil, yes)
}

// rotated checks that everybody who is still there encrypts with another session.
func (s *story) rotated(before, after map[string]string) {
	s.t.Helper()
	for _, d := range s.devices {
		if before[d.label] == "" || before[d.label] == after[d.label] {
			s.t.Errorf("%s still encrypts with session %q", d.label, after[d.label])
		}
	}
}

// raw is a plain client with the session of a device.
func (s *story) raw(d *device) *harness.Client {
	c := s.server.Client()
	c.UserID, c.DeviceID, c.Token = d.user, d.id, d.token
	return c
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestImplementations has devices of three implementations of the encryption in one
// room, while processes of the server are killed between the steps.
func TestImplementations(t *testing.T) {
	each(t, func(t *testing.T, server *harness.Server) {
		s := &story{t: t, server: server}
		for _, user := range []string{"alice", "bob", "carol"} {
			_, err := server.Client().Do(http.MethodPost, harness.Path("register"), map[string]any{
				"username": user, "password": password(user), "inhibit_login": true, "auth": map[string]string{"type": "m.login.dummy"},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		var phone, laptop, tablet, bob, carol *device
		var recovery string
		steps := []struct {
			name string
			run  func()
		}{
			{"two implementations talk", func() {
				phone, bob = s.login(jsSDK, "alice's phone", "alice"), s.login(mautrix, "bob", "bob")
				room, err := s.raw(phone).CreateRoom(map[string]any{
					"preset": "private_chat", "invite": []string{bob.user},
					"initial_state": []map[string]any{{"type": "m.room.encryption", "state_key": "", "content": map[string]string{"algorithm": "m.megolm.v1.aes-sha2"}}},
				})
				s.must(err)
				s.must(s.raw(bob).Join(room))
				s.room, s.members = room, 2
				for _, d := range s.devices {
					await(d, "the room", "ready", map[string]any{"room": s.room, "members": 2}, yes)
				}
				s.acquaint()
				s.everybodySpeaks("two are here")
			}},
			{"cross-signing, secret storage, backup", func() {
				recovery = ask[string](phone, "protect", nil)
				ask[string](bob, "protect", nil)
				await(bob, "alice to sign her phone", "signed", map[string]any{"user": phone.user, "device": phone.id}, yes)
				await(phone, "bob to sign his device", "signed", map[string]any{"user": bob.user, "device": bob.id}, yes)
				s.everybodySpeaks("now with cross-signing")
			}},
			{"a second device, of another implementation", func() {
				laptop = s.login(mautrix, "alice's laptop", "alice")
				s.everybodySpeaks("alice has two devices")
			}},
			{"it is verified", func() {
				s.verify(phone, laptop)
				for _, d := range []*device{phone, bob} {
					await(d, "alice to sign her laptop", "signed", map[string]any{"user": laptop.user, "device": laptop.id}, yes)
				}
				s.everybodySpeaks("verified")
			}},
			{"a member of a third implementation comes later", func() {
				carol = open(t, nio, "carol", server.URL(), "carol", password("carol"))
				s.must(s.raw(phone).Invite(s.room, carol.user))
				s.must(s.raw(carol).Join(s.room))
				s.members = 3
				s.devices = append(s.devices, carol)
				for _, d := range s.devices {
					await(d, "three members", "ready", map[string]any{"room": s.room, "members": 3}, yes)
				}
				s.acquaint()
				s.everybodySpeaks("three are here")
			}},
			{"a device logs in later and restores the backup", func() {
				tablet = s.login(jsSDK, "alice's tablet", "alice")
				s.everybodySpeaks("alice has three devices")
				if n := s.explain(); n == 0 {
					t.Error("nobody lacks any key, so nothing can be restored")
				} else {
					t.Logf("%d messages cannot be read, all of them from before their reader was there", n)
				}
				await(phone, "its keys to be backed up", "backedUp", nil, func(n int) bool { return n >= s.sessionCount(phone) })
				s.kill()
				for _, d := range []*device{tablet, laptop} {
					ask[any](d, "restore", map[string]any{"recovery": recovery})
					for i, m := range s.messages {
						if !slices.Contains(m.readers, d) {
							s.messages[i].readers = append(s.messages[i].readers, d)
						}
					}
				}
				s.check()
				await(bob, "alice to sign her tablet", "signed", map[string]any{"user": tablet.user, "device": tablet.id}, yes)
				s.everybodySpeaks("restored")
			}},
			{"a device is removed and keys are rotated", func() {
				before := s.sessions(phone)
				s.remove(phone, laptop)
				s.devices = slices.DeleteFunc(s.devices, func(d *device) bool { return d == laptop })
				s.acquaint()
				s.everybodySpeaks("without the laptop")
				s.rotated(before, s.sessions(phone))
			}},
			{"a member leaves and keys are rotated", func() {
				before := s.sessions(phone)
				s.must(s.raw(carol).Leave(s.room))
				s.members = 2
				s.devices = slices.DeleteFunc(s.devices, func(d *device) bool { return d == carol })
				for _, d := range s.devices {
					await(d, "two members", "ready", map[string]any{"room": s.room, "members": 2}, yes)
				}
				s.everybodySpeaks("without carol")
				s.rotated(before, s.sessions(phone))
			}},
			{"everything can be read at the end", func() {
				s.check()
				if n := s.explain(); n > 0 {
					t.Logf("%d messages cannot be read, all of them from before their reader was there", n)
				}
			}},
		}
		for _, step := range steps {
			t.Log(step.name)
			step.run()
			if t.Failed() {
				return
			}
			s.kill()
		}
	})
}

// sessionCount is the number of Megolm sessions whose messages a device can read.
func (s *story) sessionCount(d *device) int {
	sessions := map[string]bool{}
	for _, e := range ask[map[string]shown](d, "read", map[string]any{"room": s.room}) {
		if e.Body != "" {
			sessions[e.Session] = true
		}
	}
	return len(sessions)
}

// remove deletes a device of the same person, with the password.
func (s *story) remove(by, removed *device) {
	s.t.Helper()
	auth := map[string]any{
		"type": "m.login.password", "password": password("alice"), "identifier": map[string]string{"type": "m.id.user", "user": by.user},
	}
	c := s.raw(by)
	_, err := c.Do(http.MethodDelete, harness.Path("devices", removed.id), map[string]any{}, nil)
	if err == nil || err.Status != http.StatusUnauthorized {
		s.t.Fatalf("a device is deleted without a password: %v", err)
	}
	if _, err := c.Do(http.MethodDelete, harness.Path("devices", removed.id), map[string]any{"auth": auth}, nil); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.raw(removed).Do(http.MethodGet, harness.Path("account", "whoami"), nil, nil); err == nil || err.Code != "M_UNKNOWN_TOKEN" {
		s.t.Errorf("the removed device: %v", err)
	}
}
