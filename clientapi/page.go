package clientapi

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// The pages that people see in a browser: fallbacks of authentication, links from
// e-mails, sign-on. They load nothing and run only the scripts that are written here.
const pageFrame = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer"><title>{{.Title}}</title>
<style nonce="{{.Nonce}}">body{font-family:system-ui,sans-serif;max-width:32em;margin:3em auto;padding:0 1em;line-height:1.5}
input,button{font-size:1em;padding:.4em .8em}.error{color:#a00}code{overflow-wrap:anywhere}</style></head><body><h1>{{.Title}}</h1>
{{if .Error}}<p class="error">{{.Error}}</p>{{end}}
{{template "content" .}}
</body></html>`

// pageData is what a page shows. Nonce is set when it is written.
type pageData struct {
	Title, Error string
	Nonce        string
	Data         any
}

// page is a parsed page with what its policy allows besides its own scripts.
type page struct {
	template *template.Template
	policy   string
}

func newPage(content, policy string) *page {
	t := template.Must(template.New("frame").Parse(pageFrame))
	return &page{template.Must(t.New("content").Parse(content)).Lookup("frame"), policy}
}

// show writes a page.
func (p *page) show(status int, d pageData) matrixhttp.Serve {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	d.Nonce = base64.RawStdEncoding.EncodeToString(b[:])
	return func(w http.ResponseWriter, _ *http.Request) error {
		var body bytes.Buffer
		if err := p.template.Execute(&body, d); err != nil {
			return err
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "+
			"style-src 'nonce-"+d.Nonce+"'; script-src 'nonce-"+d.Nonce+"'"+p.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", strconv.Itoa(body.Len()))
		w.WriteHeader(status)
		_, err := w.Write(body.Bytes())
		return err
	}
}

// pages are all of them.
type pages struct {
	message, terms, token, recaptcha, authDone, confirmEmail, emailDone, ssoConfirm, ssoChoose, ssoApprove, login *page
}

// authDoneScript is the one that the spec prescribes ("Fallback").
const authDoneScript = `<p>You can close this window now.</p><script nonce="{{.Nonce}}">
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
</script>`

func newPages() *pages {
	return &pages{
		message:  newPage(`<p>{{.Data}}</p>`, ""),
		authDone: newPage(authDoneScript, ""),
		terms: newPage(`<p>To go on, read and accept:</p><ul>{{range .Data.Policies}}<li><a href="{{.URL}}" rel="noreferrer" target="_blank">{{.Name}}</a></li>{{end}}</ul>
<form method="post"><input type="hidden" name="session" value="{{.Data.Session}}"><button type="submit">I accept</button></form>`, ""),
		token: newPage(`<p>To make an account here you need a registration token.</p><form method="post"><input type="hidden" name="session" value="{{.Data.Session}}">
<label>Token <input name="token" maxlength="64" autocomplete="off" required></label> <button type="submit">Go on</button></form>`, ""),
		recaptcha: newPage(`<p>Show that you are no robot.</p><form method="post"><input type="hidden" name="session" value="{{.Data.Session}}">
<div class="g-recaptcha" data-sitekey="{{.Data.Key}}"></div><button type="submit">Go on</button></form>
<script nonce="{{.Nonce}}" src="https://www.google.com/recaptcha/api.js" async defer></script>`,
			" https://www.google.com/recaptcha/ https://www.gstatic.com/recaptcha/; connect-src https://www.google.com/recaptcha/; "+
				"frame-src https://www.google.com/recaptcha/ https://recaptcha.google.com/recaptcha/; img-src https://www.gstatic.com/recaptcha/"),
		confirmEmail: newPage(`<p>{{.Data.Question}}</p><form method="post">
{{range .Data.Fields}}<input type="hidden" name="{{.Name}}" value="{{.Value}}">{{end}}<button type="submit">Confirm</button></form>`, ""),
		emailDone: newPage(`<p>Your e-mail address is confirmed. Go back to the application in which you have begun.</p>
{{if .Data.Next}}<p><a href="{{.Data.Next}}" rel="noreferrer">Continue at {{.Data.Host}}</a></p>{{end}}`, ""),
		ssoConfirm: newPage(`<p>An application at <code>{{.Data.Host}}</code> wants to use your account <code>{{.Data.UserID}}</code>.</p>
<p>Go on only if you have just started to log in there. It will have full access to your account.</p>
<p><a href="{{.Data.URL}}" rel="noreferrer">Continue</a></p>`, ""),
		login:     newPage(loginPage, "; connect-src 'self'"),
		ssoChoose: newPage(`<p>{{.Data.Question}}</p><ul>{{range .Data.Choices}}<li><a href="{{.URL}}" rel="noreferrer">{{.Name}}</a></li>{{end}}</ul>`, ""),
		ssoApprove: newPage(`<p>An application that uses your account <code>{{.Data.UserID}}</code> wants to <strong>{{.Data.What}}</strong>.</p>
<p>If you did not expect this, close this window: somebody else may be using your account.</p>
<form method="post" action="{{.Data.Action}}"><input type="hidden" name="ticket" value="{{.Data.Ticket}}"><button type="submit">Confirm</button></form>`, ""),
	}
}

// form reads a posted form of a page.
func form(r *matrixhttp.Request) (url.Values, error) {
	body, err := r.Bytes()
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, merr.InvalidParam("Malformed form")
	}
	return values, nil
}

// complain shows an error on a page; one of the server's own goes the usual way.
func (s *Server) complain(title string, err error) (any, error) {
	var e *merr.Error
	if !errors.As(err, &e) || e.Status >= 500 {
		return nil, err
	}
	return s.pages.message.show(e.Status, pageData{Title: title, Error: e.Message}), nil
}
