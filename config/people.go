package config

import (
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"

	"hearth/internal/pdu"
)

// Sessions bounds what log-ins leave behind.
type Sessions struct {
	AccessTokenLifetime Duration `yaml:"access_token_lifetime"`
	KeepAddresses       Duration `yaml:"keep_addresses"`
}

// Email is the server that sends mail; without Server there is none.
type Email struct {
	Server   string `yaml:"server"`   // host:port
	Security string `yaml:"security"` // starttls, tls, none
	Username string `yaml:"username"`
	Password string `yaml:"password" secret:"true"`
	From     string `yaml:"from"`
}

// Turn are the servers that relay calls; without URIs there are none.
type Turn struct {
	URIs     []string `yaml:"uris"`
	Secret   string   `yaml:"secret" secret:"true"`
	Username string   `yaml:"username"`
	Password string   `yaml:"password" secret:"true"`
	Lifetime Duration `yaml:"lifetime"`
}

// Calls are what group calls can use; without services there are none.
type Calls struct {
	LiveKit []string `yaml:"livekit"` // URLs of LiveKit authorization services, the best first
}

// Support says whom people may turn to.
type Support struct {
	AdminUser     string `yaml:"admin_user"`
	AdminEmail    string `yaml:"admin_email"`
	SecurityUser  string `yaml:"security_user"`
	SecurityEmail string `yaml:"security_email"`
	Page          string `yaml:"page"`
}

// ServerNotices is the user who sends messages of the server; without Localpart
// there are none.
type ServerNotices struct {
	Localpart   string `yaml:"localpart"`
	DisplayName string `yaml:"display_name"`
	RoomName    string `yaml:"room_name"`
}

// checkPeople checks what concerns accounts.
func (l *loader) checkPeople() {
	c := l.config
	if d := time.Duration(c.Sessions.AccessTokenLifetime); d < time.Minute {
		l.invalid("sessions.access_token_lifetime", "must be at least 1m")
	}
	r := c.Registration
	l.checkURL("registration.terms_url", r.TermsURL)
	l.checkURL("registration.privacy_url", r.PrivacyURL)
	l.checkURL("registration.recaptcha_verify_url", r.RecaptchaVerifyURL)
	if (r.RecaptchaPublicKey == "") != (r.RecaptchaPrivateKey == "") {
		l.invalid("registration.recaptcha_public_key", "and recaptcha_private_key belong together; set both or none")
	}
	if (r.TermsURL != "" || r.PrivacyURL != "") && !opaqueID.MatchString(r.TermsVersion) {
		l.invalid("registration.terms_version", "must be of letters, digits and . _ ~ - if there are terms to agree to")
	}
	if r.RequireEmail && c.Email.Server == "" {
		l.invalid("registration.require_email", "needs email.server")
	}
	l.checkSSO()
	l.checkEmail()
	l.checkTurn()
	for _, url := range c.Calls.LiveKit {
		if url == "" {
			l.invalid("calls.livekit", "each must be a URL such as https://livekit.example.org")
		}
		l.checkURL("calls.livekit", url)
	}
	s := c.Support
	l.checkUser("support.admin_user", s.AdminUser)
	l.checkUser("support.security_user", s.SecurityUser)
	l.checkAddress("support.admin_email", s.AdminEmail)
	l.checkAddress("support.security_email", s.SecurityEmail)
	l.checkURL("support.page", s.Page)
	if name := c.ServerNotices.Localpart; name != "" && !localpart.MatchString(name) {
		l.invalid("server_notices.localpart", "must be the part of a user id before the colon: a-z, 0-9 and . _ = - / +, not %q", name)
	}
}

var (
	opaqueID  = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,255}$`)
	localpart = regexp.MustCompile(`^[a-z0-9._=/+-]{1,100}$`)
)

func (l *loader) checkEmail() {
	e := l.config.Email
	l.checkOneOf("email.security", e.Security, "starttls", "tls", "none")
	if e.Server == "" {
		return
	}
	if port, ok := parseAddress(e.Server); !ok || port == 0 || strings.HasPrefix(e.Server, ":") {
		l.invalid("email.server", "must be host:port such as mail.example.org:587, not %q", e.Server)
	}
	if _, err := mail.ParseAddress(e.From); err != nil {
		l.invalid("email.from", "must be an address such as noreply@example.org, or Name <address>, not %q", e.From)
	}
	host, _, _ := strings.Cut(l.config.ServerName, ":")
	if l.config.PublicBaseURL == "" && host != "localhost" {
		l.invalid("email.server", "needs public_base_url, which is where links in mails lead")
	}
}

func (l *loader) checkTurn() {
	t := l.config.Turn
	for _, uri := range t.URIs {
		if !strings.HasPrefix(uri, "turn:") && !strings.HasPrefix(uri, "turns:") {
			l.invalid("turn.uris", "each must be like turn:turn.example.org:3478?transport=udp or turns:…, not %q", uri)
		}
	}
	if len(t.URIs) > 0 && t.Secret == "" && (t.Username == "" || t.Password == "") {
		l.invalid("turn.secret", "or username and password must be set")
	}
	if time.Duration(t.Lifetime) < time.Minute {
		l.invalid("turn.lifetime", "must be at least 1m")
	}
}

func (l *loader) checkURL(key, s string) {
	if s == "" {
		return
	}
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		l.invalid(key, "must be empty or an address such as https://example.org/page, not %q", s)
	}
}

func (l *loader) checkUser(key, s string) {
	if s == "" {
		return
	}
	if _, _, err := pdu.ParseUserID(s); err != nil {
		l.invalid(key, "must be empty or a user id such as @admin:example.org, not %q", s)
	}
}

func (l *loader) checkAddress(key, s string) {
	if s == "" {
		return
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		l.invalid(key, "must be empty or an e-mail address, not %q", s)
	}
}
