package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

const minimal = "server_name: example.org\n"

func parse(t *testing.T, src string, environ ...string) *Config {
	t.Helper()
	c, err := Parse("hearth.yaml", []byte(src), environ)
	if err != nil {
		t.Fatalf("refused:\n%v", err)
	}
	return c
}

func TestEveryFixedName(t *testing.T) {
	c := parse(t, `server_name: example.org
data_dir: ./d
data_reserve: 3MiB
listeners:
  client:     {address: 127.0.0.1:1, tls_cert: "c.pem", tls_key: "c.key"}
  federation: {address: "", tls_cert: "", tls_key: ""}
  admin:      {address: "[::1]:3", also_on_client: true}
  metrics:    {address: ":4"}
database: {url: "postgres://u:p@h/db"}
nats: {urls: [nats://a:4222, "tls://b:4222"]}
bus: {local: false}
federation: {enabled: false, delegate: "hs.example.org:443", ca_file: ca.pem, notary_servers: [matrix.org], banned_keys: ["ed25519:a_1"], deny_servers: ["*.bad.example"], allow_servers: ["?.example", "[::1]:8448"], retry_first: 5s, retry_longest: 1h}
outbound: {allow_networks: [10.0.0.0/8, 127.0.0.1], deny_networks: []}
trusted_proxies: ["::1"]
registration: {mode: open, shared_secret: "s3", min_password_length: 12, require_email: true, guests: true, terms_url: "https://t", privacy_url: "https://p", terms_version: "2", recaptcha_public_key: a, recaptcha_private_key: b, recaptcha_verify_url: "https://v"}
sessions: {access_token_lifetime: 5m, keep_addresses: 0}
sso: {trusted_redirects: ["https://t/"], providers: [{id: i, name: n, issuer: "https://i", client_id: c}]}
email: {server: "localhost:25", security: none, username: u, password: p, from: A <a@b>}
server_notices: {localpart: n, display_name: d, room_name: r}
support: {admin_user: "@a:b", admin_email: a@b, security_user: "@c:d", security_email: c@d, page: "https://s"}
turn: {uris: ["turn:a"], secret: s, username: u, password: p, lifetime: 2h}
calls: {livekit: ["https://l"]}
public_base_url: https://x/
rate_limits: {enabled: false}
presence: {enabled: false}
encryption: {required_for: [private, dm]}
antispam: [{url: "http://a", timeout: 2s}]
blocking: {two_way: true}
probation: {for: 1h, invites: 1, joins: 2, rooms: 3, media: false, links: true}
appservices: [a.yaml, b.yaml]
identity_servers: [i.org]
media: {max_upload: 5KiB, user_bytes: 6MiB, user_files: 7}
retention: {purge_interval: 5m, overwrite_interval: 2h, room_policies: false, default_max_lifetime: 9d, allowed_lifetime_min: 1d, allowed_lifetime_max: 8d, direct: 7d, private: 6d, public: 5d, encrypted: 4d, forgotten: 3d}
url_previews: {enabled: true}
logging: {level: debug, format: json}
`)
	want := &Config{
		ServerName: "example.org", DataDir: "./d", DataReserve: 3 << 20, PublicBaseURL: "https://x",
		Listeners: Listeners{
			Client:  Listener{Address: "127.0.0.1:1", TLSCert: "c.pem", TLSKey: "c.key"},
			Admin:   AdminListener{Address: "[::1]:3", AlsoOnClient: true},
			Metrics: PlainListener{Address: ":4"},
		},
		Database:   Database{URL: "postgres://u:p@h/db"},
		NATS:       NATS{URLs: []string{"nats://a:4222", "tls://b:4222"}},
		Federation: Federation{Delegate: "hs.example.org:443", CAFile: "ca.pem", NotaryServers: []string{"matrix.org"}, BannedKeys: []string{"ed25519:a_1"}, DenyServers: []string{"*.bad.example"}, AllowServers: []string{"?.example", "[::1]:8448"}, RetryFirst: Duration(5 * time.Second), RetryLongest: Duration(time.Hour)},
		Outbound: Outbound{
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")},
			DenyNetworks:  &[]netip.Prefix{},
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::1/128")},
		Registration: Registration{
			Mode: "open", SharedSecret: "s3", MinPasswordLength: 12, RequireEmail: true, Guests: true, TermsURL: "https://t", PrivacyURL: "https://p",
			TermsVersion: "2", RecaptchaPublicKey: "a", RecaptchaPrivateKey: "b", RecaptchaVerifyURL: "https://v",
		},
		Sessions:        Sessions{AccessTokenLifetime: Duration(5 * time.Minute)},
		IdentityServers: []string{"i.org"},
		SSO: SSO{TrustedRedirects: []string{"https://t/"}, Providers: []SSOProvider{{
			ID: "i", Name: "n", Issuer: "https://i", ClientID: "c", Scopes: []string{"profile"}, UserClaim: "preferred_username", NameClaim: "name", Newcomers: true,
		}}},
		Email:         Email{Server: "localhost:25", Security: "none", Username: "u", Password: "p", From: "A <a@b>"},
		ServerNotices: ServerNotices{Localpart: "n", DisplayName: "d", RoomName: "r"},
		Support:       Support{AdminUser: "@a:b", AdminEmail: "a@b", SecurityUser: "@c:d", SecurityEmail: "c@d", Page: "https://s"},
		Turn:          Turn{URIs: []string{"turn:a"}, Secret: "s", Username: "u", Password: "p", Lifetime: Duration(2 * time.Hour)},
		Calls:         Calls{LiveKit: []string{"https://l"}},
		Encryption:    Encryption{RequiredFor: []string{"private", "dm"}},
		Antispam: []Antispam{{
			URL: "http://a", Callbacks: []string{}, Async: []string{}, FailOpen: []string{"check_event_for_spam"}, Timeout: Duration(2 * time.Second),
		}},
		Blocking:    Blocking{TwoWay: true},
		Probation:   Probation{For: Duration(time.Hour), Invites: 1, Joins: 2, Rooms: 3, Links: true},
		Appservices: []string{"a.yaml", "b.yaml"},
		Media:       Media{MaxUpload: 5 << 10, UserBytes: 6 << 20, UserFiles: 7},
		Retention: Retention{
			PurgeInterval: Duration(5 * time.Minute), OverwriteInterval: Duration(2 * time.Hour), DefaultMaxLifetime: Duration(9 * day), AllowedLifetimeMin: Duration(day),
			AllowedLifetimeMax: Duration(8 * day), Direct: Duration(7 * day), Private: Duration(6 * day), Public: Duration(5 * day), Encrypted: Duration(4 * day),
			Forgotten: Duration(3 * day),
		},
		URLPreviews: Switch{Enabled: true},
		Logging:     Logging{Level: "debug", Format: "json"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestDefaultsApplyToAbsentKeys(t *testing.T) {
	for _, src := range []string{minimal, minimal + "listeners:\n  client:\n    # address: x\nmedia:\n"} {
		want := Defaults()
		want.ServerName = "example.org"
		if c := parse(t, src); !reflect.DeepEqual(c, want) {
			t.Errorf("%q gives %+v", src, c)
		}
	}
}

func TestDenyNetworksAbsentIsNotEmpty(t *testing.T) {
	if c := parse(t, minimal); c.Outbound.DenyNetworks != nil {
		t.Error("absent key is not nil")
	}
	c := parse(t, minimal+"outbound: {deny_networks: [192.168.0.0/16]}\n")
	if d := c.Outbound.DenyNetworks; d == nil || len(*d) != 1 {
		t.Errorf("got %v", d)
	}
	if c := parse(t, minimal, "HEARTH_OUTBOUND_DENY_NETWORKS="); c.Outbound.DenyNetworks == nil {
		t.Error("the empty variable is not an empty list")
	}
}

func TestBadFilesNameThePlace(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"unknown key":            {minimal + "lisseners: {}", "hearth.yaml:2: lisseners: there is no such key; did you mean listeners? allowed here: server_name, public_base_url"},
		"unknown nested key":     {minimal + "listeners:\n  client:\n    adress: x", "hearth.yaml:4: listeners.client.adress: there is no such key; did you mean address? allowed here: address, tls_cert, tls_key"},
		"key in other case":      {minimal + "Data_Dir: x", "hearth.yaml:2: Data_Dir: there is no such key; did you mean data_dir?"},
		"unlike any key":         {minimal + "zzzzzzzzzzzzzzz: x", "hearth.yaml:2: zzzzzzzzzzzzzzz: there is no such key; allowed here:"},
		"merge key":              {minimal + "<<: {data_dir: x}", "hearth.yaml:2: <<: there is no such key"},
		"list as a key":          {minimal + "? [a]\n: b", "hearth.yaml:2:"},
		"key twice":              {minimal + "data_dir: a\ndata_dir: b", "hearth.yaml:3: data_dir: is here twice; the first is in line 2"},
		"section twice":          {minimal + "bus: {}\nbus: {}", "hearth.yaml:3: bus: is here twice"},
		"number for text":        {"server_name: 10", "hearth.yaml:1: server_name: must be text; put it in quotes"},
		"bool for text":          {minimal + "data_dir: true", "hearth.yaml:2: data_dir: must be text"},
		"list for text":          {minimal + "data_dir: [a]", `hearth.yaml:2: data_dir: must be one value: write ""`},
		"text for bool":          {minimal + "bus: {local: yes}", `hearth.yaml:2: bus.local: must be true or false, not "yes"`},
		"quoted bool":            {minimal + `bus: {local: "true"}`, `hearth.yaml:2: bus.local: must be true or false`},
		"text for number":        {minimal + "registration: {min_password_length: long}", `hearth.yaml:2: registration.min_password_length: must be a whole number, not "long"`},
		"fraction":               {minimal + "registration: {min_password_length: 8.5}", "hearth.yaml:2: registration.min_password_length: must be a whole number"},
		"huge number":            {minimal + "registration: {min_password_length: 99999999999999999999}", "hearth.yaml:2: registration.min_password_length: must be a whole number"},
		"number out of range":    {minimal + "registration: {min_password_length: 0}", "hearth.yaml:2: registration.min_password_length: must be from 1 to 512, not 0"},
		"no value":               {minimal + "data_dir:", "hearth.yaml:2: data_dir: has no value"},
		"null list":              {minimal + "outbound: {deny_networks: }", "hearth.yaml:2: outbound.deny_networks: has no value; write [] for an empty list"},
		"text for list":          {minimal + "nats: {urls: nats://a:1}", "hearth.yaml:2: nats.urls: must be a list such as [a, b]"},
		"numbers in list":        {minimal + "appservices:\n  - a\n  - 5", "hearth.yaml:3: appservices: must be a list of texts; the item in line 4 is none"},
		"text for section":       {minimal + "listeners: off", "hearth.yaml:2: listeners: must be keys with values; allowed here: client, federation, admin, metrics"},
		"list for section":       {minimal + "listeners: []", "hearth.yaml:2: listeners: must be keys"},
		"a list":                 {"- a", "hearth.yaml:1: must be keys with values"},
		"reference":              {minimal + "data_dir: &x a\nsigning_key: *x", "hearth.yaml:3: signing_key: must be a value of its own"},
		"second document":        {minimal + "---\nbus: {}", "there is a second YAML document"},
		"broken YAML":            {minimal + "bus: {local: true", "this is not valid YAML"},
		"tab":                    {minimal + "bus:\n\tlocal: true", "hearth.yaml:3: this is not valid YAML"},
		"bad size":               {minimal + "media: {max_upload: 100 megs}", `hearth.yaml:2: media.max_upload: must be a size such as 1048576, 64KiB, 100MiB or 2GiB, not "100 megs"`},
		"negative size":          {minimal + "media: {max_upload: -5}", "hearth.yaml:2: media.max_upload: must be a size"},
		"size too large":         {minimal + "media: {max_upload: 99999999999GiB}", "hearth.yaml:2: media.max_upload: must be a size"},
		"retention turned round": {minimal + "retention: {allowed_lifetime_min: 2d, allowed_lifetime_max: 1d}", "hearth.yaml:2: retention.allowed_lifetime_min: must not be greater than allowed_lifetime_max"},
		"overwriting too often":  {minimal + "retention: {overwrite_interval: 1m}", "hearth.yaml:2: retention.overwrite_interval: must not be shorter than purge_interval"},
		"no size":                {minimal + "media: {max_upload: 0}", "hearth.yaml:2: media.max_upload: must be greater than 0"},
		"no server name":         {"", "hearth.yaml: server_name: is missing"},
		"empty server name":      {`server_name: ""`, `hearth.yaml:1: server_name: "" is not a server name`},
		"bad server name":        {"server_name: exa mple.org", "hearth.yaml:1: server_name:"},
		"path in server name":    {"server_name: example.org/..", "hearth.yaml:1: server_name:"},
		"scheme in name":         {"server_name: https://example.org", "hearth.yaml:1: server_name:"},
		"empty data_dir":         {minimal + `data_dir: ""`, "hearth.yaml:2: data_dir: must not be empty"},
		"bad base URL":           {minimal + "public_base_url: matrix.example.org", "hearth.yaml:2: public_base_url: must be empty or an address"},
		"address, no port":       {minimal + "listeners: {client: {address: 127.0.0.1}}", "hearth.yaml:2: listeners.client.address: must be host:port"},
		"port too large":         {minimal + "listeners: {client: {address: 127.0.0.1:65536}}", "hearth.yaml:2: listeners.client.address: must be host:port"},
		"port by name":           {minimal + "listeners: {admin: {address: 127.0.0.1:http}}", "hearth.yaml:2: listeners.admin.address: must be host:port"},
		"bad host":               {minimal + `listeners: {metrics: {address: "a b:80"}}`, "hearth.yaml:2: listeners.metrics.address: must be host:port"},
		"same address":           {minimal + "listeners:\n  metrics: {address: 127.0.0.1:8008}", "hearth.yaml:3: listeners.metrics.address: is the same as listeners.client.address"},
		"cert without key":       {minimal + "listeners: {client: {tls_cert: a}}", "hearth.yaml:2: listeners.client.tls_cert: needs tls_key as well"},
		"key without cert":       {minimal + "listeners: {federation: {tls_key: a}}", "hearth.yaml:2: listeners.federation.tls_key: needs tls_cert as well"},
		"other database":         {minimal + "database: {url: mysql://a}", "hearth.yaml:2: database.url: must be empty for SQLite or begin with postgres://"},
		"bad NATS":               {minimal + "nats: {urls: [localhost]}", "hearth.yaml:2: nats.urls: each must be like nats://host:4222"},
		"bad server pattern":     {minimal + "federation: {deny_servers: ['a b']}", `hearth.yaml:2: federation.deny_servers: "a b" is no server name and no pattern of server names, such as *.example.org`},
		"bad key id":             {minimal + "federation: {banned_keys: [a_1]}", `hearth.yaml:2: federation.banned_keys: "a_1" is not the id of a key`},
		"bad notary":             {minimal + "federation: {notary_servers: [a/b]}", `hearth.yaml:2: federation.notary_servers: "a/b" is not a server name`},
		"bad network":            {minimal + "outbound: {allow_networks: [10.0.0.0/33]}", `hearth.yaml:2: outbound.allow_networks: "10.0.0.0/33" is not a network`},
		"loose network":          {minimal + "outbound: {deny_networks: [10.0.0.1/8]}", "hearth.yaml:2: outbound.deny_networks: \"10.0.0.1/8\" has bits set beyond its length; did you mean 10.0.0.0/8?"},
		"mapped network":         {minimal + `outbound: {deny_networks: ["::ffff:10.0.0.0/104"]}`, "hearth.yaml:2: outbound.deny_networks:"},
		"bad mode":               {minimal + "registration: {mode: invite}", `hearth.yaml:2: registration.mode: must be one of closed, open, token, approval, not "invite"`},
		"bad encryption":         {minimal + "encryption: {required_for: [private, rooms]}", `hearth.yaml:2: encryption.required_for: must be one of private, dm, all, not "rooms"`},
		"empty appservice":       {minimal + `appservices: [""]`, "hearth.yaml:2: appservices:"},
		"short lifetime":         {minimal + "sessions: {access_token_lifetime: 30s}", "hearth.yaml:2: sessions.access_token_lifetime: must be at least 1m"},
		"no time":                {minimal + "sessions: {keep_addresses: 7 days}", `hearth.yaml:2: sessions.keep_addresses: must be a time such as 30s, 15m, 1h or 7d, or 0, not "7 days"`},
		"bad terms":              {minimal + "registration: {terms_url: terms.html}", "hearth.yaml:2: registration.terms_url: must be empty or an address"},
		"no terms version":       {minimal + "registration: {terms_url: https://x, terms_version: 1 of 2}", "hearth.yaml:2: registration.terms_version: must be of letters"},
		"half a captcha":         {minimal + "registration: {recaptcha_public_key: x}", "hearth.yaml:2: registration.recaptcha_public_key: and recaptcha_private_key belong together"},
		"email, no server":       {minimal + "registration: {require_email: true}", "hearth.yaml:2: registration.require_email: needs email.server"},
		"bad mail server":        {minimal + "email: {server: mail.example.org, from: a@b}", "hearth.yaml:2: email.server: must be host:port"},
		"no sender":              {minimal + "email: {server: mail.example.org:25}", "email.from: must be an address"},
		"bad mail security":      {minimal + "email: {security: ssl}", "hearth.yaml:2: email.security: must be one of starttls, tls, none"},
		"mail without links":     {"server_name: example.org\nemail: {server: m:25, from: a@b}", "hearth.yaml:2: email.server: needs public_base_url"},
		"bad notices":            {minimal + "server_notices: {localpart: A b}", "hearth.yaml:2: server_notices.localpart: must be the part"},
		"bad contact":            {minimal + "support: {admin_user: admin}", "hearth.yaml:2: support.admin_user: must be empty or a user id"},
		"bad contact email":      {minimal + "support: {admin_email: admin}", "hearth.yaml:2: support.admin_email: must be empty or an e-mail address"},
		"bad turn":               {minimal + "turn: {uris: [stun:x], secret: s}", "hearth.yaml:2: turn.uris: each must be like turn:"},
		"turn, no secret":        {minimal + "turn: {uris: [turn:x]}", "turn.secret: or username and password must be set"},
		"bad livekit":            {minimal + "calls: {livekit: [livekit]}", "hearth.yaml:2: calls.livekit: must be"},
		"short turn":             {minimal + "turn: {lifetime: 0}", "hearth.yaml:2: turn.lifetime: must be at least 1m"},
		"bad proxy":              {minimal + "trusted_proxies: [proxy]", `hearth.yaml:2: trusted_proxies: "proxy" is not a network`},
		"bad level":              {minimal + "logging: {level: loud}", "hearth.yaml:2: logging.level: must be one of error, warn, info, debug, trace"},
		"bad format":             {minimal + "logging: {format: xml}", "hearth.yaml:2: logging.format: must be one of text, json"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("hearth.yaml", []byte(tc.src), nil)
			if err == nil {
				t.Fatalf("accepted as %+v", c)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestAllProblemsAtOnceInOrder(t *testing.T) {
	_, err := Parse("h.yaml", []byte("bogus: 1\nbus: {local: 5}\nmedia: {max_upload: x}\nserver_name: a/b\n"),
		[]string{"HEARTH_LOGGING_LEVEL=loud"})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	var keys []string
	for _, p := range problems {
		keys = append(keys, p.Key)
	}
	if want := []string{"logging.level", "bogus", "bus.local", "media.max_upload", "server_name"}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v\n%v", keys, want, err)
	}
}

func TestEnvironmentWins(t *testing.T) {
	c := parse(t, minimal+"logging: {level: warn}\n",
		"PATH=/bin", "HEARTH_SERVER_NAME=other.org", "HEARTH_LISTENERS_CLIENT_ADDRESS=:1",
		"HEARTH_LOGGING_LEVEL=error", "HEARTH_NATS_URLS=nats://a:1, nats://b:2", "HEARTH_BUS_LOCAL=false",
		"HEARTH_REGISTRATION_MIN_PASSWORD_LENGTH=20", "HEARTH_MEDIA_MAX_UPLOAD=1GiB",
		"HEARTH_TEST_POSTGRES=x", "HEARTH_BENCH_SECONDS=1", "HEARTH_FEDERATION_CA_FILE=ca")
	got := []any{c.ServerName, c.Listeners.Client.Address, c.Logging.Level, c.NATS.URLs, c.Bus.Local,
		c.Registration.MinPasswordLength, c.Media.MaxUpload, c.Federation.CAFile}
	want := []any{"other.org", ":1", "error", []string{"nats://a:1", "nats://b:2"}, false, 20, Size(1 << 30), "ca"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Every key has a variable, and the file's value never wins over it.
func TestEveryKeyHasAVariable(t *testing.T) {
	values := map[string]string{
		"server_name": "x.org", "public_base_url": "https://x", "database.url": "postgres://x",
		"nats.urls": "nats://x:1", "federation.notary_servers": "x.org", "federation.banned_keys": "ed25519:a", "outbound.allow_networks": "10.0.0.0/8",
		"outbound.deny_networks": "10.0.0.0/8", "registration.mode": "token", "encryption.required_for": "dm", "media.max_upload": "7KiB", "data_reserve": "6KiB",
		"logging.level": "trace", "logging.format": "json", "registration.min_password_length": "9",
		"listeners.client.address": ":1", "listeners.federation.address": ":2", "listeners.admin.address": ":3",
		"listeners.metrics.address": ":4", "email.from": "a@b", "email.security": "tls", "email.server": "m:25",
		"registration.privacy_url": "https://x", "registration.recaptcha_verify_url": "https://x", "registration.terms_url": "https://x",
		"sessions.access_token_lifetime": "90s", "sessions.keep_addresses": "1d", "support.admin_email": "a@b", "support.security_email": "a@b",
		"support.admin_user": "@a:b", "support.security_user": "@a:b", "support.page": "https://x", "trusted_proxies": "::1",
		"federation.retry_first": "5s", "federation.retry_longest": "2h", "identity_servers": "x.org", "media.user_bytes": "8KiB", "media.user_files": "9",
		"retention.purge_interval": "5m", "retention.overwrite_interval": "2h", "retention.default_max_lifetime": "9d", "retention.allowed_lifetime_min": "1d",
		"retention.allowed_lifetime_max": "8d", "retention.direct": "7d", "retention.private": "6d", "retention.public": "5d", "retention.encrypted": "4d",
		"retention.forgotten": "3d", "sso.trusted_redirects": "https://x/", "turn.lifetime": "1h", "turn.uris": "turn:x", "calls.livekit": "https://x",
		"probation.for": "1h", "probation.invites": "1", "probation.joins": "1", "probation.rooms": "1",
	}
	var environ []string
	defaults := Defaults()
	for _, f := range fields(defaults) {
		if f.isSections() { // which have names of their own
			continue
		}
		value, ok := values[f.path]
		if b, isBool := f.value.Interface().(bool); isBool {
			value = map[bool]string{true: "false", false: "true"}[b]
		} else if !ok {
			value = "x"
		}
		environ = append(environ, f.env()+"="+value)
	}
	for i, f := range fields(parse(t, minimal, environ...)) {
		if !f.isSections() && reflect.DeepEqual(f.value.Interface(), fields(defaults)[i].value.Interface()) {
			t.Errorf("%s has no effect", f.env())
		}
	}
}

func TestBadEnvironment(t *testing.T) {
	for name, tc := range map[string]struct{ env, want string }{
		"unknown":        {"HEARTH_LISTENER_CLIENT_ADDRESS=x", "HEARTH_LISTENER_CLIENT_ADDRESS: this variable is no key of the configuration; did you mean HEARTH_LISTENERS_CLIENT_ADDRESS (listeners.client.address)?"},
		"section":        {"HEARTH_LISTENERS=x", "HEARTH_LISTENERS: this variable is no key"},
		"bool":           {"HEARTH_BUS_LOCAL=1", `HEARTH_BUS_LOCAL: bus.local: must be true or false, not "1"`},
		"empty bool":     {"HEARTH_BUS_LOCAL=", "HEARTH_BUS_LOCAL: bus.local: must be true or false"},
		"number":         {"HEARTH_REGISTRATION_MIN_PASSWORD_LENGTH=x", "HEARTH_REGISTRATION_MIN_PASSWORD_LENGTH: registration.min_password_length: must be a whole number"},
		"invalid":        {"HEARTH_SERVER_NAME=a b", "HEARTH_SERVER_NAME: server_name:"},
		"missing secret": {"HEARTH_DATABASE_URL_FILE=/nonexistent/x", "HEARTH_DATABASE_URL_FILE: database.url: cannot be read"},
		"no secret":      {"HEARTH_DATA_DIR_FILE=/x", "HEARTH_DATA_DIR_FILE: this variable is no key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("hearth.yaml", []byte(minimal), []string{tc.env})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestSecretFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from file\r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parse(t, minimal, "HEARTH_REGISTRATION_SHARED_SECRET_FILE="+path)
	if c.Registration.SharedSecret != "from file" {
		t.Errorf("got %q", c.Registration.SharedSecret)
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	_, err := Parse("hearth.yaml", []byte("registration: {shared_secret: 12345678901}\ndatabase: {url: 'mysql://u:canary@h'}\n"), nil)
	if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "12345678901") {
		t.Errorf("got %v", err)
	}
}

func TestUnreadableFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("# padding\n", maxFile/10+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"1": 1, "0": 0, "1KiB": 1 << 10, "100MiB": 100 << 20, "2GiB": 2 << 30} {
		if got, err := parseSize(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %v (%s), %v", text, int64(got), got, err)
		}
	}
	for _, text := range []string{"", "KiB", "1kb", "1 MiB", "1.5MiB", "+1", "9223372036854775808", "9007199254740992KiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte(minimal + "listeners: {client: {address: ':1'}}\n? [a]\n: b"))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse("f", src, nil)
		if err == nil && c.ServerName == "" {
			t.Error("accepted without a server name")
		}
	})
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "30s": 30 * time.Second, "90s": 90 * time.Second, "15m": 15 * time.Minute, "1h": time.Hour, "7d": 7 * 24 * time.Hour} {
		if got, err := parseDuration(text); err != nil || time.Duration(got) != want || got.String() != text {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "-1h", "1.5h", "1h30m", "h", "99999999999d", "1H", "1 h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
