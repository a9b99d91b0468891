package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/pdu"
)

// validate checks values that have the right type.
func (l *loader) validate() {
	c := l.config
	l.checkServerName()
	l.checkBaseURL()
	if c.DataDir == "" {
		l.invalid("data_dir", "must not be empty; ./data is usual")
	}
	l.checkListeners()
	if c.Database.URL != "" {
		// The value holds a password, so it is not shown.
		if u, err := url.Parse(c.Database.URL); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			l.invalid("database.url", "must be empty for SQLite or begin with postgres://")
		}
	}
	for _, s := range c.NATS.URLs {
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			l.invalid("nats.urls", "each must be like nats://host:4222 or tls://host:4222")
		}
	}
	for _, s := range c.Federation.NotaryServers {
		if _, _, err := pdu.ParseServerName(s); err != nil {
			l.invalid("federation.notary_servers", "%q is not a server name", s)
		}
	}
	if d := c.Federation.Delegate; d != "" {
		if _, _, err := pdu.ParseServerName(d); err != nil {
			l.invalid("federation.delegate", "%q is not a server name", d)
		}
	}
	l.checkServerPatterns("federation.deny_servers", c.Federation.DenyServers)
	l.checkServerPatterns("federation.allow_servers", c.Federation.AllowServers)
	if f := c.Federation; f.RetryFirst < Duration(time.Second) || f.RetryLongest < f.RetryFirst || f.RetryLongest > Duration(7*24*time.Hour) {
		l.invalid("federation.retry_first", "it must be at least 1s, and retry_longest between it and 168h")
	}
	for _, id := range c.Federation.BannedKeys {
		if version, ok := strings.CutPrefix(id, "ed25519:"); !ok || !keyVersion.MatchString(version) {
			l.invalid("federation.banned_keys", "%q is not the id of a key, such as ed25519:a_1", id)
		}
	}
	l.checkOneOf("registration.mode", c.Registration.Mode, "closed", "open", "token", "approval")
	if n := c.Registration.MinPasswordLength; n < 1 || n > maxPassword {
		l.invalid("registration.min_password_length", "must be from 1 to %d, not %d", maxPassword, n)
	}
	l.checkPeople()
	l.checkPolicy()
	if slices.Contains(c.Appservices, "") {
		l.invalid("appservices", "must be a list of paths; one of them is empty")
	}
	if c.Media.UserBytes < 0 || c.Media.UserFiles < 0 {
		l.invalid("media.user_files", "and user_bytes must not be negative; 0 is without bound")
	}
	for _, s := range c.IdentityServers {
		if _, _, err := pdu.ParseServerName(s); err != nil {
			l.invalid("identity_servers", "%q is not a server name", s)
		}
	}
	if c.DataReserve < 0 {
		l.invalid("data_reserve", "must not be negative; 0 reserves nothing")
	}
	if c.Media.MaxUpload <= 0 {
		l.invalid("media.max_upload", "must be greater than 0")
	}
	for _, kind := range c.Encryption.RequiredFor {
		l.checkOneOf("encryption.required_for", kind, "private", "dm", "all")
	}
	l.checkRetention()
	l.checkOneOf("logging.level", c.Logging.Level, "error", "warn", "info", "debug", "trace")
	l.checkOneOf("logging.format", c.Logging.Format, "text", "json")
}

// serverPattern is what a pattern of server names may hold.
var serverPattern = regexp.MustCompile(`^[A-Za-z0-9.:*?\[\]-]{1,255}$`)

func (l *loader) checkServerPatterns(key string, patterns []string) {
	for _, p := range patterns {
		if !serverPattern.MatchString(p) {
			l.invalid(key, "%q is no server name and no pattern of server names, such as *.example.org", p)
		}
	}
}

// maxPassword is the greatest password that the user store takes, in bytes.
const maxPassword = 512

func (l *loader) checkOneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		l.invalid(key, "must be one of %s, not %q", quoteAll(allowed), value)
	}
}

func (l *loader) checkServerName() {
	name := l.config.ServerName
	if _, set := l.origins["server_name"]; !set {
		l.invalid("server_name", "is missing; it is what follows the colon in user ids, such as example.org, and cannot be changed later")
		return
	}
	if _, _, err := pdu.ParseServerName(name); err != nil {
		l.invalid("server_name", "%q is not a server name; it is a host name such as example.org or an address, with :port only if others must use it", name)
	}
}

func (l *loader) checkBaseURL() {
	s := l.config.PublicBaseURL
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		l.invalid("public_base_url", "must be empty or an address such as https://matrix.example.org, not %q", s)
	}
	l.config.PublicBaseURL = strings.TrimRight(s, "/")
}

func (l *loader) checkListeners() {
	ls := l.config.Listeners
	taken := map[string]string{}
	for _, a := range []struct{ key, address string }{
		{"listeners.client.address", ls.Client.Address},
		{"listeners.federation.address", ls.Federation.Address},
		{"listeners.admin.address", ls.Admin.Address},
		{"listeners.metrics.address", ls.Metrics.Address},
	} {
		if a.address == "" {
			continue
		}
		port, ok := parseAddress(a.address)
		if !ok {
			l.invalid(a.key, "must be host:port such as 127.0.0.1:8008, [::1]:8008 or :8008, or empty for off, not %q", a.address)
			continue
		}
		if other := taken[a.address]; other != "" && port != 0 {
			l.invalid(a.key, "is the same as %s; each listener needs its own", other)
		}
		taken[a.address] = a.key
	}
	l.checkTLS("listeners.client", ls.Client)
	l.checkTLS("listeners.federation", ls.Federation)
}

func (l *loader) checkTLS(key string, listener Listener) {
	switch {
	case listener.TLSCert == "" && listener.TLSKey != "":
		l.invalid(key+".tls_key", "needs tls_cert as well")
	case listener.TLSCert != "" && listener.TLSKey == "":
		l.invalid(key+".tls_cert", "needs tls_key as well")
	}
}

// parseAddress checks the form host:port; the host is empty (every address of the
// machine), an address or a name.
func parseAddress(s string) (port int, ok bool) {
	host, number, err := net.SplitHostPort(s)
	if err != nil {
		return 0, false
	}
	if port, err = strconv.Atoi(number); err != nil || port < 0 || port > 65535 || number[0] == '+' {
		return 0, false
	}
	if host == "" {
		return port, true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return port, true
	}
	name, _, err := pdu.ParseServerName(host)
	return port, err == nil && name == host
}
