// Package config reads the configuration: one YAML file, then the environment.
//
// Reading is strict. A key that does not exist, a key twice, a value of the wrong
// type or outside of what is allowed is an error that names the place and says what
// is allowed; all errors are reported at once, before anything starts. A value in
// the environment wins over the file: HEARTH_ and the path of the key in capitals,
// dots as underscores (HEARTH_LISTENERS_CLIENT_ADDRESS), lists with commas.
//
// What each key means is said once, in example.yaml, which `hearth config example`
// prints.
package config

import (
	"net/netip"
	"path/filepath"
	"time"
)

// Config is the whole configuration, checked. The yaml tags are the names of keys;
// the tag secret marks those that may also come from a file that the environment
// names (HEARTH_DATABASE_URL_FILE).
type Config struct {
	ServerName     string         `yaml:"server_name"`
	PublicBaseURL  string         `yaml:"public_base_url"` // without a slash at the end
	DataDir        string         `yaml:"data_dir"`
	DataReserve    Size           `yaml:"data_reserve"`
	SigningKey     string         `yaml:"signing_key"` // see SigningKeyPath
	Listeners      Listeners      `yaml:"listeners"`
	Database       Database       `yaml:"database"`
	NATS           NATS           `yaml:"nats"`
	Bus            Bus            `yaml:"bus"`
	Federation     Federation     `yaml:"federation"`
	Outbound       Outbound       `yaml:"outbound"`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	Registration   Registration   `yaml:"registration"`
	Sessions       Sessions       `yaml:"sessions"`
	SSO            SSO            `yaml:"sso"`
	Email          Email          `yaml:"email"`
	// IdentityServers are names of servers.
	IdentityServers []string      `yaml:"identity_servers"`
	ServerNotices   ServerNotices `yaml:"server_notices"`
	Support         Support       `yaml:"support"`
	Turn            Turn          `yaml:"turn"`
	Calls           Calls         `yaml:"calls"`
	RateLimits      Switch        `yaml:"rate_limits"`
	Presence        Switch        `yaml:"presence"`
	Encryption      Encryption    `yaml:"encryption"`
	Antispam        []Antispam    `yaml:"antispam"`
	Blocking        Blocking      `yaml:"blocking"`
	Probation       Probation     `yaml:"probation"`
	Appservices     []string      `yaml:"appservices"` // paths of registration files
	Media           Media         `yaml:"media"`
	Retention       Retention     `yaml:"retention"`
	URLPreviews     Switch        `yaml:"url_previews"`
	Logging         Logging       `yaml:"logging"`
}

// Listeners are the addresses that Hearth listens on.
type Listeners struct {
	Client     Listener      `yaml:"client"`
	Federation Listener      `yaml:"federation"`
	Admin      AdminListener `yaml:"admin"`
	Metrics    PlainListener `yaml:"metrics"`
}

// Listener may speak TLS. An empty Address means that it is off.
type Listener struct {
	Address string `yaml:"address"` // host:port; port 0: any free one
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
}

// AdminListener serves the admin API.
type AdminListener struct {
	Address      string `yaml:"address"`
	AlsoOnClient bool   `yaml:"also_on_client"`
}

// PlainListener never speaks TLS.
type PlainListener struct {
	Address string `yaml:"address"`
}

// Database says where the data goes; an empty URL is SQLite in DataDir.
type Database struct {
	URL string `yaml:"url" secret:"true"`
}

// NATS names external servers; none means that one is embedded.
type NATS struct {
	URLs []string `yaml:"urls"`
}

// Bus tunes how components of one process talk.
type Bus struct {
	Local bool `yaml:"local"`
}

// Encryption is what messages must be encrypted: those in rooms that are "private", "dm" or
// "all".
type Encryption struct {
	RequiredFor []string `yaml:"required_for"`
}

// Federation is the talk with other servers.
type Federation struct {
	Enabled       bool     `yaml:"enabled"`
	CAFile        string   `yaml:"ca_file"`
	NotaryServers []string `yaml:"notary_servers"`
	BannedKeys    []string `yaml:"banned_keys"` // ids such as ed25519:a_1
	// Delegate is where other servers find this one: a name, with a port if it is not 8448; empty: at
	// the server name.
	Delegate string `yaml:"delegate"`
	// DenyServers and AllowServers are patterns of server names, with * and ?.
	DenyServers  []string `yaml:"deny_servers"`
	AllowServers []string `yaml:"allow_servers"` // empty: all
	// RetryFirst and RetryLongest bound how long a server that failed is left alone.
	RetryFirst   Duration `yaml:"retry_first"`
	RetryLongest Duration `yaml:"retry_longest"`
}

// Outbound bounds which addresses Hearth connects to on behalf of others.
type Outbound struct {
	AllowNetworks []netip.Prefix `yaml:"allow_networks"`
	// DenyNetworks is nil if the key is absent: every private and special range. A
	// pointer to an empty list denies nothing.
	DenyNetworks *[]netip.Prefix `yaml:"deny_networks"`
}

// Registration says who may make accounts.
type Registration struct {
	Mode                string `yaml:"mode"` // closed, open, token, approval
	SharedSecret        string `yaml:"shared_secret" secret:"true"`
	MinPasswordLength   int    `yaml:"min_password_length"` // characters
	RequireEmail        bool   `yaml:"require_email"`
	Guests              bool   `yaml:"guests"`
	TermsURL            string `yaml:"terms_url"`
	PrivacyURL          string `yaml:"privacy_url"`
	TermsVersion        string `yaml:"terms_version"`
	RecaptchaPublicKey  string `yaml:"recaptcha_public_key"`
	RecaptchaPrivateKey string `yaml:"recaptcha_private_key" secret:"true"`
	RecaptchaVerifyURL  string `yaml:"recaptcha_verify_url"`
}

// Switch is a feature that is on or off.
type Switch struct {
	Enabled bool `yaml:"enabled"`
}

// Media bounds uploads.
type Media struct {
	MaxUpload Size `yaml:"max_upload"`
	// UserBytes and UserFiles bound what one user may keep here; 0: no bound.
	UserBytes Size `yaml:"user_bytes"`
	UserFiles int  `yaml:"user_files"`
}

// Logging says what is logged and how.
type Logging struct {
	Level  string `yaml:"level"`  // trace, debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Defaults returns the configuration of an empty file. It lacks the server name,
// which has no default.
func Defaults() *Config {
	return &Config{
		DataDir:     "./data",
		DataReserve: 256 << 20,
		Listeners: Listeners{
			Client:     Listener{Address: "127.0.0.1:8008"},
			Federation: Listener{Address: "127.0.0.1:8448"},
			Admin:      AdminListener{Address: "127.0.0.1:8009"},
		},
		NATS:           NATS{URLs: []string{}},
		Bus:            Bus{Local: true},
		Federation:     Federation{Enabled: true, NotaryServers: []string{}, BannedKeys: []string{}, DenyServers: []string{}, AllowServers: []string{}, RetryFirst: Duration(time.Minute), RetryLongest: Duration(24 * time.Hour)},
		Outbound:       Outbound{AllowNetworks: []netip.Prefix{}},
		TrustedProxies: []netip.Prefix{},
		Registration: Registration{
			Mode: "closed", MinPasswordLength: 8, TermsVersion: "1",
			RecaptchaVerifyURL: "https://www.google.com/recaptcha/api/siteverify",
		},
		Sessions:        Sessions{AccessTokenLifetime: Duration(time.Hour), KeepAddresses: Duration(7 * 24 * time.Hour)},
		SSO:             SSO{Providers: []SSOProvider{}, TrustedRedirects: []string{}},
		Email:           Email{Security: "starttls"},
		IdentityServers: []string{},
		ServerNotices:   ServerNotices{DisplayName: "Server", RoomName: "Notices of this server"},
		Turn:            Turn{URIs: []string{}, Lifetime: Duration(24 * time.Hour)},
		Calls:           Calls{LiveKit: []string{}},
		RateLimits:      Switch{Enabled: true},
		Presence:        Switch{Enabled: true},
		Encryption:      Encryption{RequiredFor: []string{}},
		Antispam:        []Antispam{},
		Probation:       Probation{Invites: 5, Joins: 20, Rooms: 5, Media: true},
		Appservices:     []string{},
		Media:           Media{MaxUpload: 100 << 20, UserBytes: 10 << 30, UserFiles: 100_000},
		Retention:       defaultRetention(),
		Logging:         Logging{Level: "info", Format: "text"},
	}
}

// SigningKeyPath returns the path of the signing key.
func (c *Config) SigningKeyPath() string {
	if c.SigningKey != "" {
		return c.SigningKey
	}
	return filepath.Join(c.DataDir, "signing.key")
}
