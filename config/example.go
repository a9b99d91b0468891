package config

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"strings"
)

//go:embed example.yaml
var example string

// Example returns the sample that documents every key. Its values are the defaults.
func Example() string { return example }

// First returns the file that a first start without a configuration writes, and
// what it means together with environ. Only on localhost, which nobody else
// reaches, may the holder of the file make accounts.
func First(path string, environ []string) (src []byte, c *Config, err error) {
	l := &loader{name: path, config: Defaults(), origins: map[string]origin{}}
	l.fields = fields(l.config)
	l.config.ServerName = "localhost"
	l.readEnv(environ)
	text := example
	put := func(key, value string) {
		quoted, _ := json.Marshal(value) // JSON text is YAML text; a string always encodes
		text = strings.Replace(text, "\n"+key+"\n", "\n"+key[:strings.LastIndex(key, ":")]+": "+string(quoted)+"\n", 1)
	}
	if l.config.ServerName != "localhost" {
		put("server_name: localhost", l.config.ServerName)
	} else if _, set := l.origins["registration.shared_secret"]; !set {
		put(`  shared_secret: ""`, rand.Text())
	}
	if l.config.DataDir != "./data" {
		put("data_dir: ./data", l.config.DataDir)
	}
	c, err = Parse(path, []byte(text), environ)
	return []byte(text), c, err
}
