package config

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSigningKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "signing.key")
	made, err := MakeSigningKey(path)
	if err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(file); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	read, err := ReadSigningKey(path)
	if err != nil || read.ID != made.ID || !bytes.Equal(read.Key, made.Key) {
		t.Errorf("read %+v, %v; made %+v", read, err, made)
	}
	again, err := MakeSigningKey(path)
	if err != nil || !bytes.Equal(again.Key, made.Key) {
		t.Errorf("the key was replaced: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProcessesThatStartTogetherShareOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	keys := make([]*SigningKey, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = MakeSigningKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == nil || k.ID != keys[0].ID || !bytes.Equal(k.Key, keys[0].Key) {
			t.Fatalf("different keys: %v", keys)
		}
	}
}

func TestSigningKeyForms(t *testing.T) {
	const seed = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"
	path := filepath.Join(t.TempDir(), "signing.key")
	for name, tc := range map[string]struct {
		text string
		mode fs.FileMode
		want string
	}{
		"good":            {"ed25519 a_1 " + seed + "\n", 0o600, ""},
		"padded":          {"ed25519 a_1 " + seed + "=", 0o400, ""},
		"empty":           {"", 0o600, "is damaged"},
		"cut":             {"ed25519 a_1 " + seed[:20] + "\n", 0o600, "is damaged"},
		"two lines":       {"ed25519 a_1 " + seed + "\ned25519 a_2 " + seed + "\n", 0o600, "is damaged"},
		"over lines":      {"ed25519\na_1 " + seed, 0o600, "is damaged"},
		"other algorithm": {"rsa a_1 " + seed, 0o600, "is damaged"},
		"bad version":     {"ed25519 a:1 " + seed, 0o600, "is damaged"},
		"bad base64":      {"ed25519 a_1 " + strings.Repeat("*", 43), 0o600, "is damaged"},
		"binary":          {"\x00\xff\x00", 0o600, "is damaged"},
		"group may read":  {"ed25519 a_1 " + seed, 0o640, "run: chmod 600 " + path},
		"all may read":    {"ed25519 a_1 " + seed, 0o604, "run: chmod 600 " + path},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(path)
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			key, err := ReadSigningKey(path)
			switch {
			case tc.want == "" && (err != nil || key.ID != "ed25519:a_1" || len(key.Key) != ed25519.PrivateKeySize):
				t.Errorf("got %+v, %v", key, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			case err != nil && (strings.Contains(err.Error(), seed[:20]) || strings.Contains(err.Error(), "\n")):
				t.Errorf("shows the key or has several lines: %v", err)
			}
			if src, _ := os.ReadFile(path); string(src) != tc.text {
				t.Error("the file was changed")
			}
		})
	}
}

func TestNoSigningKey(t *testing.T) {
	if _, err := ReadSigningKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := ReadSigningKey(t.TempDir()); err == nil {
		t.Error("a directory is no key")
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeSigningKey(filepath.Join(blocked, "signing.key")); err == nil {
		t.Error("made below a file")
	}
}

func TestCheckFiles(t *testing.T) {
	c := Defaults()
	if err := c.CheckFiles(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Listeners.Client.TLSCert, c.Listeners.Client.TLSKey = text, text
	c.Federation.CAFile = text
	c.Appservices = []string{text, "/nonexistent/bridge.yaml"}
	err := c.CheckFiles()
	for _, want := range []string{"listeners.client: tls_cert " + text, "federation.ca_file: " + text, "appservices: stat /nonexistent"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
