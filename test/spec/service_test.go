package spec

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// service is an application service: a bridge to a network that has one user and one
// channel.
type service struct {
	person
	id, file string // of its registration
}

const serviceToken = "as_token_of_the_scenario"

func startService(t *testing.T) *service {
	t.Helper()
	answers := map[string]any{
		"ping": struct{}{},
		"thirdparty/protocol/example": object{"user_fields": []string{"nick"}, "location_fields": []string{"channel"}, "icon": "mxc://localhost/icon",
			"field_types": object{"nick": object{"regexp": "[a-z]+", "placeholder": "nick"}, "channel": object{"regexp": "#[a-z]+", "placeholder": "#channel"}},
			"instances":   []object{{"desc": "Example", "network_id": "example", "fields": object{}}}},
		"thirdparty/location/example": []object{{"alias": "#_example_channel:localhost", "protocol": "example", "fields": object{"channel": "#channel"}}},
		"thirdparty/user/example":     []object{{"userid": "@_example_nick:localhost", "protocol": "example", "fields": object{"nick": "nick"}}},
	}
	answers["thirdparty/location"], answers["thirdparty/user"] = answers["thirdparty/location/example"], answers["thirdparty/user/example"]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[strings.TrimPrefix(r.URL.Path, "/_matrix/app/v1/")]
		switch {
		case r.Header.Get("Authorization") != "Bearer hs_token_of_the_scenario":
			w.WriteHeader(http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/transactions/"):
			answer = struct{}{}
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // who does not read it fails by itself
	}))
	t.Cleanup(s.Close)
	registration := fmt.Sprintf(`id: example
url: %s
as_token: %s
hs_token: hs_token_of_the_scenario
sender_localpart: _example
rate_limited: false
protocols: [example]
namespaces:
  users: [{exclusive: true, regex: "@_example_.*"}]
  aliases: [{exclusive: true, regex: "#_example_.*"}]
  rooms: []
`, s.URL, serviceToken)
	file := filepath.Join(t.TempDir(), "example.yaml")
	if err := os.WriteFile(file, []byte(registration), 0o600); err != nil {
		t.Fatal(err)
	}
	return &service{person{id: "@_example:localhost", token: serviceToken}, "example", file}
}
