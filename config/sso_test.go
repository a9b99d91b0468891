package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const twoProviders = `server_name: example.org
public_base_url: https://matrix.example.org
sso:
  trusted_redirects: [https://app.example.org/, io.app://cb]
  providers:
    - id: one
      name: First
      issuer: https://one.example.org/
      client_id: hearth
      client_secret: s
    - {id: two, name: Second, issuer: "http://127.0.0.1:1", client_id: h, scopes: [], newcomers: false, user_claim: email, icon: mxc://a/b, brand: github}
`

func TestProviders(t *testing.T) {
	c := parse(t, twoProviders)
	want := []SSOProvider{
		{ID: "one", Name: "First", Issuer: "https://one.example.org/", ClientID: "hearth", ClientSecret: "s",
			Scopes: []string{"profile"}, UserClaim: "preferred_username", NameClaim: "name", Newcomers: true},
		{ID: "two", Name: "Second", Issuer: "http://127.0.0.1:1", ClientID: "h", Scopes: []string{}, UserClaim: "email", NameClaim: "name",
			Icon: "mxc://a/b", Brand: "github"},
	}
	if !reflect.DeepEqual(c.SSO.Providers, want) {
		t.Errorf("%+v", c.SSO.Providers)
	}
}

// TestProviderInExample: what the example says in comments is a configuration.
func TestProviderInExample(t *testing.T) {
	text := Example()
	from := strings.Index(text, "  #   - id: example")
	to := strings.Index(text, "  providers: []")
	sample := regexp.MustCompile(`(?m)^  #   `).ReplaceAllString(text[from:to], "    ")
	c := parse(t, text[:from]+"  providers:\n"+sample+text[to+len("  providers: []\n"):])
	if len(c.SSO.Providers) != 1 {
		t.Fatalf("%+v", c.SSO)
	}
	want := SSOProvider{ID: "example", Name: "Example", Issuer: "https://login.example.org/", ClientID: "hearth"}
	want.defaults()
	if !reflect.DeepEqual(c.SSO.Providers[0], want) {
		t.Errorf("%+v", c.SSO.Providers[0])
	}
	for _, f := range fieldsOf(reflect.ValueOf(&want).Elem(), "") {
		if !strings.Contains(sample, f.path+":") {
			t.Errorf("%s is not in the example", f.path)
		}
	}
}

func TestSecretsOfProvidersFromTheEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("x", []byte(twoProviders), []string{
		"HEARTH_SSO_PROVIDERS_0_CLIENT_SECRET_FILE=" + file, "HEARTH_SSO_PROVIDERS_1_CLIENT_SECRET=direct",
	})
	if err != nil || c.SSO.Providers[0].ClientSecret != "from a file" || c.SSO.Providers[1].ClientSecret != "direct" {
		t.Errorf("%v %+v", err, c)
	}
}

func TestBadProviders(t *testing.T) {
	for text, want := range map[string]string{
		strings.Replace(twoProviders, "id: one", "id: a b", 1):                              "x:6: sso.providers[0].id: must be of letters",
		strings.Replace(twoProviders, "id: two", "id: one", 1):                              "x:11: sso.providers[1].id: one is the id of two providers",
		strings.Replace(twoProviders, "name: First", "nane: First", 1):                      "x:7: sso.providers[0].nane: there is no such key; did you mean name?",
		strings.Replace(twoProviders, "https://one.example.org/", "http://one.org", 1):      "x:8: sso.providers[0].issuer: must be the address of a provider, beginning with https://",
		strings.Replace(twoProviders, "client_id: h,", "", 1):                               "x: sso.providers[1].client_id: must be set",
		strings.Replace(twoProviders, "brand: github", "brand: Git Hub", 1):                 "x:11: sso.providers[1].brand: ",
		strings.Replace(twoProviders, "mxc://a/b", "https://a/b", 1):                        "x:11: sso.providers[1].icon: ",
		strings.Replace(twoProviders, "newcomers: false", "newcomers: 5", 1):                "x:11: sso.providers[1].newcomers: must be true or false",
		strings.Replace(twoProviders, "io.app://cb", "cb", 1):                               "x:4: sso.trusted_redirects: ",
		strings.Replace(twoProviders, "public_base_url: https://matrix.example.org", "", 1): "x:6: sso.providers: needs public_base_url",
		"server_name: a\nsso: {providers: {id: x}}\n":                                       "x:2: sso.providers: must be a list of sections",
		"server_name: a\nsso: {providers: [text]}\n":                                        "x:2: sso.providers[0]: must be keys with values",
		"server_name: a\nsso:\n  providers:\n    -\n":                                       "sso.providers[0]: is empty; allowed here: id, name",
	} {
		_, err := Parse("x", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := Parse("x", []byte(twoProviders), []string{"HEARTH_SSO_PROVIDERS=a,b"})
	if err == nil || !strings.Contains(err.Error(), "in the file alone") {
		t.Errorf("%v", err)
	}
}
