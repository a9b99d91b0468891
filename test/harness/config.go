package harness

import (
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// sharedSecret opens the admin API's registration.
const sharedSecret = "a secret of the harness"

// layout is where everything of a server is.
type layout struct {
	dir                       string
	client, federation, admin int // ports
	nats                      int
	database                  string // URL, "" for SQLite
}

func (l *layout) configFile() string { return filepath.Join(l.dir, "hearth.yaml") }

// writeConfig writes the configuration that all processes of the server share.
func (l *layout) writeConfig(o *Options) error {
	urls := []string{}
	if o.Wiring == FourProcesses {
		urls = append(urls, "nats://"+address(l.nats))
	}
	m := map[string]any{
		"server_name": o.Name,
		"data_dir":    filepath.Join(l.dir, "data"),
		"listeners": map[string]any{
			"client":     map[string]any{"address": address(l.client)},
			"federation": map[string]any{"address": address(l.federation)},
			"admin":      map[string]any{"address": address(l.admin)},
		},
		"database":     map[string]any{"url": l.database},
		"nats":         map[string]any{"urls": urls},
		"registration": map[string]any{"mode": "open", "shared_secret": sharedSecret},
		"rate_limits":  map[string]any{"enabled": false},
	}
	if o.BusLocal != nil {
		m["bus"] = map[string]any{"local": *o.BusLocal}
	}
	if o.Config != nil {
		o.Config(m)
	}
	text, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(l.configFile(), text, 0o600)
}

// environ is our environment without what would change the configuration.
func environ(more ...string) []string {
	var out []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "HEARTH_") {
			out = append(out, entry)
		}
	}
	return append(out, more...)
}
