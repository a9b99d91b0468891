package federationapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/internal/pdu"
)

// hostileEvents are events that must not reach the roomserver, by what is wrong with them. Each
// is of our room unless it says so.
func hostileEvents(o *owners) map[string]string {
	message := func(content string, change func(*pdu.Template)) string {
		return string(o.event("10", func(t *pdu.Template) {
			t.Type, t.StateKey, t.Content = "m.room.message", nil, []byte(content)
			if change != nil {
				change(t)
			}
		}).JSON)
	}
	good := message(`{"body":"x"}`, nil)
	swap := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	other := "@x:other.example"
	hundred := message(`{"n":100}`, nil)
	return map[string]string{
		"nested":                     swap(`{"body":"x"}`, strings.Repeat(`{"a":`, 1500)+"1"+strings.Repeat("}", 1500)),
		"an exponent":                swap(`{"body":"x"}`, `{"n":1E2}`),
		"an exponent with its hash":  strings.Replace(hundred, "100", "1E2", 1),
		"a fraction":                 swap(`{"body":"x"}`, `{"n":0.5}`),
		"2^53":                       swap(`{"body":"x"}`, `{"n":9007199254740992}`),
		"depth 2^60":                 swap(`"depth":3`, `"depth":1152921504606846976`),
		"depth -1":                   swap(`"depth":3`, `"depth":-1`),
		"no depth":                   swap(`"depth":3,`, ``),
		"depth as text":              swap(`"depth":3`, `"depth":"3"`),
		"21 prev_events":             swap(`"prev_events":[`, `"prev_events":[`+strings.Repeat(`"$`+strings.Repeat("q", 43)+`",`, 20)),
		"11 auth_events":             swap(`"auth_events":[`, `"auth_events":[`+strings.TrimSuffix(strings.Repeat(`"$`+strings.Repeat("q", 43)+`",`, 11), ",")),
		"prev_events of numbers":     swap(`"prev_events":[`, `"prev_events":[5,`),
		"a long type":                swap(`"type":"m.room.message"`, `"type":"`+strings.Repeat("é", 128)+`"`),
		"a NUL in the sender":        swap(`"sender":"@bob`, `"sender":"@b\u0000b`),
		"too large":                  swap(`{"body":"x"}`, `{"body":"`+strings.Repeat("x", 65_537)+`"}`),
		"a sender in capitals":       swap(`"sender"`, `"SENDER"`),
		"another sender":             swap("@bob:", "@eve:"),
		"no signatures":              swap(`"signatures":{`, `"signaturez":{`),
		"signatures as a list":       good[:strings.Index(good, `"signatures":`)] + `"signatures":[],"type":"m.room.message"}`,
		"hashes as a number":         good[:strings.Index(good, `"hashes":`)] + `"hashes":5,` + good[strings.Index(good, `"origin_server_ts"`):],
		"of another server's user":   message(`{}`, func(t *pdu.Template) { t.Sender = other }),
		"signed by another server":   string(o.event("10", func(t *pdu.Template) { t.Type, t.StateKey = "m.room.message", nil }, peertest.Signer("other.example", "ed25519:1")).JSON),
		"signed with an old key":     string(o.event("10", nil, peertest.Signer(o.peer.Name, "ed25519:old")).JSON),
		"signed with an unknown key": string(o.event("10", nil, peertest.Signer(o.peer.Name, "ed25519:7")).JSON),
		"of a key far in the future": message(`{}`, func(t *pdu.Template) { t.OriginServerTS = 1 << 52 }),
		"another room's format":      string(o.event("1", nil).JSON),
		"a restricted join of nobody's": string(o.event("10", func(t *pdu.Template) {
			t.Content = []byte(`{"join_authorised_via_users_server":"@alice:example.org","membership":"join"}`)
		}).JSON),
		"a room id with a path": swap(ourRoom, "!../../r:x"),
		"a room id as a number": swap(`"room_id":"`+ourRoom+`"`, `"room_id":5`),
		"an unknown room":       message(`{}`, func(t *pdu.Template) { t.RoomID = unknownRoom }),
		"null":                  `null`,
		"a number":              `5`,
		"a list":                `[[[]]]`,
		"only a room":           `{"room_id":"` + ourRoom + `"}`,
	}
}

// TestHostileEvents sends each, alone and beside a good event, which must get through: no
// error of ours, nothing reaches the roomserver.
func TestHostileEvents(t *testing.T) {
	o := newOwners(t)
	good := o.event("10", func(t *pdu.Template) { t.Type, t.StateKey = "m.room.message", nil })
	n := 0
	for name, raw := range hostileEvents(o) {
		for _, pdus := range []string{raw, raw + "," + string(good.JSON), string(good.JSON) + "," + raw} {
			n++
			o.reached = nil
			body := `{"origin":"` + o.peer.Name + `","origin_server_ts":1,"pdus":[` + pdus + `]}`
			start := time.Now()
			status, answer := o.request("PUT", fmt.Sprint(fedV1, "/send/", n), body)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s took %v", name, took)
			}
			if status != 200 {
				t.Errorf("%s: %d %s", name, status, answer)
				continue
			}
			want := "[]"
			if pdus != raw {
				want = "[receive " + good.EventID + "]"
			}
			if fmt.Sprint(o.reached) != want {
				t.Errorf("%s: reached %q", name, o.reached)
			}
		}
	}
}

// TestHostileBodies: what is no transaction is refused whole, at once.
func TestHostileBodies(t *testing.T) {
	o := newOwners(t)
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"brackets":       {strings.Repeat("[", 12<<20), 401},
		"too large":      {strings.Repeat("[", 13<<20), 413},
		"deep":           {`{"pdus":[` + strings.Repeat("[", 9900) + strings.Repeat("]", 9900) + `]}`, 401},
		"a key twice":    {`{"pdus":[],"pdus":[]}`, 401},
		"a lone half":    {`{"pdus":["\ud800"]}`, 401},
		"no UTF-8":       {"{\"pdus\":[\"\xff\"]}", 401},
		"NaN":            {`{"pdus":[NaN]}`, 401},
		"a list":         {`[]`, 401},
		"nothing":        {`{}`, 400},
		"pdus as a text": {`{"pdus":"x"}`, 400},
		"51 pdus":        {`{"pdus":[` + strings.TrimSuffix(strings.Repeat("{},", 51), ",") + `]}`, 400},
		"101 edus":       {`{"edus":[` + strings.TrimSuffix(strings.Repeat("{},", 101), ",") + `],"pdus":[]}`, 400},
		"odd edus":       {`{"edus":[5,null,[],"x",{"edu_type":5},{"edu_type":"m.typing"},{"edu_type":"m.typing","content":[]},{"edu_type":"m.receipt","content":{}}],"pdus":[]}`, 200},
		"PDUS":           {`{"PDUS":[]}`, 400},
	} {
		start := time.Now()
		status, answer := o.request("PUT", fedV1+"/send/"+strings.ReplaceAll(name, " ", "_"), tc.body)
		if status != tc.want {
			t.Errorf("%s: %d %.200s", name, status, answer)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if len(o.reached) != 0 {
		t.Errorf("reached: %q", o.reached)
	}
}

// TestLargeBodiesWait: strangers who send large bodies hold up one another, and nobody else.
func TestLargeBodiesWait(t *testing.T) {
	o := newOwners(t)
	for range largeBodies {
		o.server.bodies <- struct{}{}
	}
	if status, answer := o.request("PUT", fedV1+"/send/small", `{"pdus":[]}`); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	large := `{"pdus":[],"x":"` + strings.Repeat("x", smallBody) + `"}`
	done := make(chan int)
	go func() {
		status, _ := o.request("PUT", fedV1+"/send/large", large)
		done <- status
	}()
	select {
	case status := <-done:
		t.Fatalf("it was answered at once: %d", status)
	case <-time.After(50 * time.Millisecond):
	}
	<-o.server.bodies
	if status := <-done; status != 200 {
		t.Errorf("%d", status)
	}
}

// TestHostilePaths: what names nothing is not found, on every route.
func TestHostilePaths(t *testing.T) {
	o := newOwners(t)
	for _, odd := range []string{"%2e%2e", "..%2F..", "%00", "%ff", "a%2Fb", strings.Repeat("a", 2000), "%21", "!x:y:z/", "$"} {
		for _, r := range o.server.routes() {
			path := r.Path
			if !strings.Contains(path, "{") {
				continue
			}
			for _, name := range []string{"roomId", "eventId", "userId", "txnId", "mediaId", "serverName", "keyID"} {
				path = strings.ReplaceAll(path, "{"+name+"}", odd)
			}
			body := ""
			if r.Method != "GET" {
				body = "{}"
			}
			if strings.Contains(path, "/query/") || strings.Contains(path, "/key/v2/server") || strings.Contains(path, "/send/") {
				continue // any text is a good name there
			}
			if status, answer := o.request(r.Method, path, body); status < 400 || status >= 500 {
				t.Errorf("%s %.100s: %d %s", r.Method, path, status, answer)
			}
		}
	}
	if len(o.reached) != 0 {
		t.Errorf("reached: %q", o.reached)
	}
}
