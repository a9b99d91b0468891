package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/testkit/smtpsink"
	"hearth/test/harness"
)

// step is a part of the scenario. Steps run in order and build on one another.
type step struct {
	name string
	run  func(w *world)
}

// person is somebody with a device.
type person struct{ id, device, token, password string }

// world is what the scenario has come to.
type world struct {
	*caller
	*testing.T // of the step that runs
	server     *harness.Server
	service    *service
	mail       *smtpsink.Sink
	schemas    *schemas
	operations map[string]*operation

	alice, bob, carol        *person
	room, space, event, edit string // of alice
	image                    string // a media id of alice
	since                    string // a token of alice's sync
	page                     string // the URL of a web page

	answered, validated map[string]bool
}

// built tells whether Hearth has got an operation.
func (w *world) built(id string) bool {
	w.Helper()
	o := w.operations[id]
	if o == nil {
		w.Fatalf("%s is no operation of the specification", id)
	}
	return !o.missing
}

// do calls an operation, which must succeed with what the specification says. It does
// nothing if data/missing.txt has the operation.
func (w *world) do(p *person, id string, r request) value {
	w.Helper()
	if !w.built(id) {
		return value{}
	}
	o := w.operations[id]
	if p != nil {
		r.token = p.token
	}
	if o.body == "json" && r.body == nil && r.raw == nil {
		r.body = struct{}{}
	}
	a := w.call(w, o, r)
	w.answered[id] = true
	if err := w.right(o, a); err != nil {
		w.Errorf("%v: %v\nthe answer was %v", o, err, a)
		return value{}
	}
	w.validated[id] = true
	v := value{answer: a}
	if o.answer == "json" {
		v.any, _ = a.json() // right has read it
	}
	return v
}

// right tells whether an answer is the success that the specification describes.
func (w *world) right(o *operation, a answer) error {
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	switch {
	case o.answer == "redirect":
		if a.status != http.StatusFound || a.header.Get("Location") == "" {
			return fmt.Errorf("%d with Location %q", a.status, a.header.Get("Location"))
		}
		return nil
	case a.status != http.StatusOK:
		return fmt.Errorf("it is not 200")
	case o.answer == "bytes":
		if kind == "" || len(a.body) == 0 {
			return fmt.Errorf("%d bytes of type %q", len(a.body), kind)
		}
		return nil
	case kind != "application/json":
		return fmt.Errorf("it is of type %q", kind)
	}
	decoded, err := a.json()
	if err != nil {
		return err
	}
	return w.schemas.response(o.id, "200", decoded)
}

// refused calls an operation that must fail with a status and code. It counts as
// answered, not as validated: a success must be seen for that.
func (w *world) refused(p *person, id string, r request, status int, code string) value {
	w.Helper()
	if !w.built(id) {
		return value{}
	}
	o := w.operations[id]
	if p != nil {
		r.token = p.token
	}
	if o.body == "json" && r.body == nil && r.raw == nil {
		r.body = struct{}{}
	}
	a := w.call(w, o, r)
	w.answered[id] = true
	v := value{answer: a}
	var err error
	if v.any, err = a.json(); err != nil || a.status != status || a.code() != code {
		w.Errorf("%v: answered %v, not %d %s", o, a, status, code)
		return v
	}
	if documented := strconv.Itoa(status); w.schemas.raw("operations", id, "responses", documented) != nil {
		if err := w.schemas.response(id, documented, v.any); err != nil {
			w.Errorf("%v: %v\nthe answer was %v", o, err, a)
		}
	}
	return v
}

// confirmed is do for an operation that asks for the password.
func (w *world) confirmed(p *person, id string, r request) value {
	w.Helper()
	if !w.built(id) {
		return value{}
	}
	asked := w.refused(p, id, r, http.StatusUnauthorized, "")
	body := map[string]any{}
	if r.body != nil {
		maps.Copy(body, r.body.(map[string]any))
	}
	body["auth"] = map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": p.id},
		"password": p.password, "session": asked.text("session"),
	}
	r.body = body
	return w.do(p, id, r)
}

// value is a decoded answer.
type value struct {
	any    any
	answer answer
}

// at goes down by names and, in arrays, by numbers.
func (v value) at(keys ...string) any {
	node := v.any
	for _, key := range keys {
		switch n := node.(type) {
		case map[string]any:
			node = n[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}

// text returns a string, "" if there is none.
func (v value) text(keys ...string) string {
	s, _ := v.at(keys...).(string)
	return s
}

// list returns an array.
func (v value) list(keys ...string) []any {
	l, _ := v.at(keys...).([]any)
	return l
}

// must fails if the value at a place is not the expected one as JSON. Without it a
// schema would be content with an empty answer.
func (w *world) must(v value, want any, keys ...string) {
	w.Helper()
	if v.answer.status == 0 {
		return // the operation is missing, or has failed already
	}
	got, _ := json.Marshal(v.at(keys...))
	expected, err := json.Marshal(want)
	if err != nil || string(got) != string(expected) {
		w.Errorf("%s is %.300s, not %s", strings.Join(keys, "."), got, expected)
	}
}

// some fails if an array is empty.
func (w *world) some(v value, keys ...string) {
	w.Helper()
	if v.answer.status != 0 && len(v.list(keys...)) == 0 {
		w.Errorf("%s is empty in %v", strings.Join(keys, "."), v.answer)
	}
}

// in makes the parameters of a path: in("roomId", id, …).
func in(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// object is a JSON object.
type object = map[string]any

// scenario plays all steps and tells what of the specification it has seen.
func scenario(t *testing.T, server *harness.Server, service *service, mail *smtpsink.Sink, s *schemas, g gaps, byID map[string]*operation, all []*operation) {
	w := &world{
		caller: newCaller(server.URL()), server: server, service: service, mail: mail, schemas: s, operations: byID,
		answered: map[string]bool{}, validated: map[string]bool{}, page: page(t),
	}
	for _, part := range [][]step{peopleSteps, roomSteps, mediaSteps, readSteps, pushSteps, keySteps, serviceSteps, adminSteps, addressSteps, accountSteps} {
		for _, step := range part {
			if !t.Run(step.name, func(t *testing.T) { w.T = t; step.run(w) }) {
				t.Logf("%s failed; what follows may fail for that reason alone", step.name)
			}
		}
	}
	var missing, incomplete, refused []string
	for _, o := range all {
		if o.missing {
			missing = append(missing, o.id)
			continue
		}
		var err error
		switch {
		case w.validated[o.id]:
		case w.answered[o.id] && slices.Contains(refusals, o.id):
			refused = append(refused, o.id)
		default:
			err = errors.New("no step has seen it succeed")
			incomplete = append(incomplete, o.id)
		}
		g.check(t, "validated", o, err)
	}
	for _, id := range refusals {
		if byID[id].missing {
			continue
		}
		if w.validated[id] {
			t.Errorf("%s succeeds: take it off the list of refusals", id)
		}
	}
	list := func(ids []string) string { return fmt.Sprintf("%d (%s)", len(ids), strings.Join(ids, " ")) }
	t.Logf("of %d operations %d answered and validated; refused as they should %s; incomplete %s; missing %s",
		len(all), len(w.validated), list(refused), list(incomplete), list(missing))
}

// refusals lists operations that cannot succeed on the scenario's server, but refuse
// as the specification says.
var refusals = []string{
	"inviteBy3PID", "bind3PID", // there is no identity server
	"getAuthMetadata", // this is no OAuth authorization server
	// The legacy endpoints only know what was uploaded before they were frozen.
	"getContent", "getContentOverrideName", "getContentThumbnail",
	// There are no telephone numbers.
	"requestTokenTo3PIDMSISDN", "requestTokenToRegisterMSISDN", "requestTokenToResetPasswordMSISDN",
}
