package spec

import (
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"hearth/internal/testkit/smtpsink"
)

// addressSteps give an account an e-mail address and take it away.
var addressSteps = []step{
	{"e-mail addresses", func(w *world) {
		const address = "alice@example.org"
		proof := w.confirmAddress("requestTokenTo3PIDEmail", address)
		w.confirmed(w.alice, "add3PID", request{body: proof})
		w.must(w.do(w.alice, "getAccount3PIDs", request{}), address, "threepids", "0", "address")
		w.do(nil, "requestTokenToResetPasswordEmail", request{body: object{"client_secret": "reset", "email": address, "send_attempt": 1}})
		if w.built("requestTokenToResetPasswordEmail") {
			w.mailTo(address)
		}
		named := request{body: object{"medium": "email", "address": address}}
		w.do(w.alice, "unbind3pidFromAccount", named)
		w.do(w.alice, "delete3pidFromAccount", named)
		w.must(w.do(w.alice, "getAccount3PIDs", request{}), []any{}, "threepids")
		w.confirmed(w.alice, "post3PIDs", request{body: object{"three_pid_creds": w.confirmAddress("requestTokenTo3PIDEmail", "other@example.org")}})
	}},
	{"e-mail for registration", func(w *world) {
		w.confirmAddress("requestTokenToRegisterEmail", "new@example.org")
	}},
	{"identity servers", func(w *world) { // the server knows none
		body := object{"id_server": "id.example.org", "id_access_token": "token", "sid": "sid", "client_secret": "secret"}
		w.refused(w.alice, "bind3PID", request{body: body}, http.StatusBadRequest, "M_SERVER_NOT_TRUSTED")
	}},
	{"telephone numbers", func(w *world) {
		body := object{"client_secret": "secret", "country": "GB", "phone_number": "07700900001", "send_attempt": 1}
		for _, id := range []string{"requestTokenTo3PIDMSISDN", "requestTokenToRegisterMSISDN", "requestTokenToResetPasswordMSISDN"} {
			w.refused(nil, id, request{body: body}, http.StatusForbidden, "M_THREEPID_DENIED")
		}
	}},
}

var link = regexp.MustCompile(`http://\S+`)

// confirmAddress proves to have an address, as people do: by the link in a message.
func (w *world) confirmAddress(id, address string) object {
	w.Helper()
	if !w.built(id) {
		return nil
	}
	sid := w.do(nil, id, request{body: object{"client_secret": "secret", "email": address, "send_attempt": 1}}).text("sid")
	m := w.mailTo(address)
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(m.Data)))
	if err != nil {
		w.Fatal(err)
	}
	found, err := url.Parse(link.FindString(string(text)))
	if err != nil || found.Query().Get("token") == "" {
		w.Fatalf("the mail to %s is %s", m.To, m.Data)
	}
	query := found.Query()
	found.RawQuery = ""
	resp, err := w.http.PostForm(found.String(), query)
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close() // it is empty or not, the status says all
	if resp.StatusCode != http.StatusOK {
		w.Fatalf("the confirmation is answered with %s", resp.Status)
	}
	return object{"sid": sid, "client_secret": "secret"}
}

// mailTo waits for the next message to an address.
func (w *world) mailTo(address string) smtpsink.Mail {
	w.Helper()
	for {
		if m := w.mail.Next(w); m.To == address {
			return m
		}
	}
}
