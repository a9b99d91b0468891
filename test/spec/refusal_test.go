package spec

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// routes: what Hearth claims is there, and what is listed as missing is not.
func routes(t *testing.T, c *caller, all []*operation) {
	for _, o := range all {
		a := c.call(t, o, request{})
		switch there := !a.unrecognized(); {
		case there && o.missing:
			t.Errorf("%v is there now: take it off data/missing.txt", o)
		case !there && !o.missing:
			t.Errorf("%v is missing: %v", o, a)
		}
	}
}

// tokens: nobody without a token gets in where one is needed.
func tokens(t *testing.T, c *caller, g gaps, all []*operation) {
	for _, o := range all {
		if o.missing {
			continue
		}
		missing, unknown := c.call(t, o, request{}), c.call(t, o, request{token: "hrt_unknown"})
		switch o.auth {
		case "token", "appservice":
			if err := missing.is(http.StatusUnauthorized, "M_MISSING_TOKEN"); err != nil {
				t.Errorf("%v: without a token: %v", o, err)
			}
			if err := unknown.is(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"); err != nil {
				t.Errorf("%v: with an unknown token: %v", o, err)
			}
		case "optional":
			var err error
			if missing.code() == "M_MISSING_TOKEN" {
				err = fmt.Errorf("without a token, which is optional: %v", missing)
			}
			g.check(t, "token", o, err)
		default:
			if missing.code() == "M_MISSING_TOKEN" || unknown.code() == "M_UNKNOWN_TOKEN" {
				t.Errorf("%v: asks for a token: %v, %v", o, missing, unknown)
			}
		}
	}
}

// bodies: what is no JSON and what has the wrong types is refused, and named so.
func bodies(t *testing.T, c *caller, s *schemas, all []*operation, userToken, serviceToken string, values map[string]string) {
	probes := 0
	for _, o := range all {
		if o.missing || o.body != "json" || slices.Contains(unread, o.id) {
			continue
		}
		send := func(what string, r request, want refusal) {
			probes++
			r.token = userToken
			if o.auth == "appservice" {
				r.token = serviceToken
			}
			r.path, r.query = values, url.Values{"version": {"1"}}
			if a := c.call(t, o, r); a.status != want.status || a.code() != want.code {
				t.Errorf("%v: %s: answered %v, not %d %s", o, what, a, want.status, want.code)
			}
		}
		for _, text := range []string{`{"a":`, `{"a":1} x`, "{\"a\":\"\xff\"}", `nul`} {
			send(fmt.Sprintf("%q", text), request{raw: []byte(text)}, refusal{http.StatusBadRequest, "M_NOT_JSON"})
		}
		for _, text := range []string{`[]`, `"text"`, `5`, `null`} {
			send(text, request{raw: []byte(text)}, refusal{http.StatusBadRequest, "M_BAD_JSON"})
		}
		maker := bodyMaker{schemas: s, known: map[string]any{"user_id": values["userId"], "device_id": values["deviceId"]}}
		for _, w := range maker.wrong(s.raw("operations", o.id, "request"), 3) {
			want, ok := exceptions[o.id+" "+w.place]
			switch outer, inner, nested := strings.Cut(w.place, "."); {
			case ok:
			case nested && inner != "" && slices.Contains(signed, o.id+" "+outer):
				want = refusal{http.StatusBadRequest, "M_INVALID_PARAM"}
			default:
				want = refusal{http.StatusBadRequest, "M_BAD_JSON"}
			}
			send("wrong type of "+w.place, request{body: w.body}, want)
		}
	}
	t.Logf("%d requests with bad bodies", probes)
}

// refusal is a status with its errcode.
type refusal struct {
	status int
	code   string
}

// unread lists operations that refuse whatever the body is.
var unread = []string{"requestTokenTo3PIDMSISDN", "requestTokenToRegisterMSISDN", "requestTokenToResetPasswordMSISDN"}

// signed lists objects that are signed as they are, so that what is wrong within is
// M_INVALID_PARAM.
var signed = []string{
	"uploadKeys device_keys", "uploadCrossSigningKeys master_key", "uploadCrossSigningKeys self_signing_key", "uploadCrossSigningKeys user_signing_key",
}

// exceptions are answers to wrong types that are other than 400 M_BAD_JSON.
var exceptions = map[string]refusal{
	// The specification names the code.
	"postReceipt thread_id": {http.StatusBadRequest, "M_INVALID_PARAM"},
}
