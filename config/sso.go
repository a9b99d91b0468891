package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// SSO is single sign-on; without providers there is none.
type SSO struct {
	TrustedRedirects []string      `yaml:"trusted_redirects"`
	Providers        []SSOProvider `yaml:"providers"`
}

// SSOProvider is an OpenID provider at which people log in.
type SSOProvider struct {
	ID           string   `yaml:"id"`
	Name         string   `yaml:"name"`
	Icon         string   `yaml:"icon"`
	Brand        string   `yaml:"brand"`
	Issuer       string   `yaml:"issuer"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret" secret:"true"`
	Scopes       []string `yaml:"scopes"`
	UserClaim    string   `yaml:"user_claim"`
	NameClaim    string   `yaml:"name_claim"`
	Newcomers    bool     `yaml:"newcomers"`
}

func (p *SSOProvider) defaults() {
	p.Scopes, p.UserClaim, p.NameClaim, p.Newcomers = []string{"profile"}, "preferred_username", "name", true
}

// A brand has the grammar of common namespaced identifiers, without a namespace.
var brand = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,254}$`)

func (l *loader) checkSSO() {
	c := l.config
	for _, s := range c.SSO.TrustedRedirects {
		if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" ||
			u.User != nil || (u.Scheme == "https" || u.Scheme == "http") && u.Host == "" {
			l.invalid("sso.trusted_redirects", "each must be the beginning of an address such as https://app.example.org/, not %q", s)
		}
	}
	if host, _, _ := strings.Cut(c.ServerName, ":"); len(c.SSO.Providers) > 0 && c.PublicBaseURL == "" && host != "localhost" {
		l.invalid("sso.providers", "needs public_base_url, which is where providers send people back to")
	}
	seen := map[string]bool{}
	for i := range c.SSO.Providers {
		p, prefix := &c.SSO.Providers[i], fmt.Sprintf("sso.providers[%d].", i)
		l.checkProvider(p, prefix)
		if seen[p.ID] && p.ID != "" {
			l.invalid(prefix+"id", "%s is the id of two providers", p.ID)
		}
		seen[p.ID] = true
	}
}

func (l *loader) checkProvider(p *SSOProvider, prefix string) {
	if !opaqueID.MatchString(p.ID) {
		l.invalid(prefix+"id", "must be of letters, digits and . _ ~ -, and never change: accounts belong to it")
	}
	if p.Name == "" {
		l.invalid(prefix+"name", "must be set; people choose by it")
	}
	if p.Icon != "" && !strings.HasPrefix(p.Icon, "mxc://") {
		l.invalid(prefix+"icon", "must be empty or begin with mxc://")
	}
	if p.Brand != "" && !brand.MatchString(p.Brand) {
		l.invalid(prefix+"brand", "must be empty or a word such as github")
	}
	if u, err := url.Parse(p.Issuer); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && !(u.Scheme == "http" && local(u.Hostname())) {
		l.invalid(prefix+"issuer", "must be the address of a provider, beginning with https://, not %q", p.Issuer)
	}
	if p.ClientID == "" {
		l.invalid(prefix+"client_id", "must be set; it is what the provider calls this server")
	}
	if p.UserClaim == "" {
		l.invalid(prefix+"user_claim", "must be set")
	}
}

// local reports whether a host is this machine, to which the way is safe without TLS.
func local(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }
