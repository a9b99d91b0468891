package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestExampleIsTheDefaults(t *testing.T) {
	c := parse(t, Example())
	want := Defaults()
	want.ServerName = "localhost"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the example is\n%+v\nthe defaults are\n%+v", c, want)
	}
}

// Every key stands in the example, and each one that is not clear by its section
// has a comment above it.
func TestExampleDocumentsEveryKey(t *testing.T) {
	obvious := map[string]bool{"address": true, "tls_cert": true, "tls_key": true, "enabled": true, "url": true,
		"urls": true, "local": true, "allow_networks": true}
	for _, f := range fields(Defaults()) {
		name := f.path[strings.LastIndexByte(f.path, '.')+1:]
		indent := strings.Repeat("  ", strings.Count(f.path, "."))
		line := regexp.MustCompile(`(?m)^` + indent + `(# )?` + name + `:`)
		at := line.FindStringIndex(Example())
		if at == nil {
			t.Errorf("%s is not in the example", f.path)
			continue
		}
		before := strings.Split(strings.TrimSuffix(Example()[:at[0]], "\n"), "\n")
		if last := strings.TrimSpace(before[len(before)-1]); !obvious[name] && !strings.HasPrefix(last, "#") {
			t.Errorf("%s has no comment", f.path)
		}
	}
}

func TestFirstConfiguration(t *testing.T) {
	src, c, err := First("data/hearth.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerName != "localhost" || len(c.Registration.SharedSecret) < 20 || c.Registration.Mode != "closed" {
		t.Errorf("got %+v", c)
	}
	if again := parse(t, string(src)); !reflect.DeepEqual(again, c) {
		t.Errorf("the file means %+v, not %+v", again, c)
	}
	_, other, err := First("data/hearth.yaml", nil)
	if err != nil || other.Registration.SharedSecret == c.Registration.SharedSecret {
		t.Errorf("the secret is not random: %v", err)
	}
}

func TestFirstConfigurationOfAPublicServer(t *testing.T) {
	src, c, err := First("x", []string{"HEARTH_SERVER_NAME=example.org", "HEARTH_DATA_DIR=/var/lib/hearth"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Registration.SharedSecret != "" {
		t.Error("registration by shared secret is on")
	}
	// The file must mean the same when the variables are gone.
	if again := parse(t, string(src)); again.ServerName != "example.org" || again.DataDir != "/var/lib/hearth" {
		t.Errorf("got %+v", again)
	}
}

func TestFirstConfigurationKeepsSecretsOfTheEnvironmentOut(t *testing.T) {
	src, c, err := First("x", []string{"HEARTH_REGISTRATION_SHARED_SECRET=canary"})
	if err != nil || c.Registration.SharedSecret != "canary" || strings.Contains(string(src), "canary") {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestFirstConfigurationRefusesABadEnvironment(t *testing.T) {
	if _, _, err := First("x", []string{"HEARTH_SERVER_NAME=a b"}); err == nil {
		t.Error("accepted")
	}
}
