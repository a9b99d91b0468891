package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// SigningKey is the key with which a server signs (appendices, "Signing JSON").
type SigningKey struct {
	ID  string // ed25519: and the version, as in "ed25519:a_Xy12"
	Key ed25519.PrivateKey
}

// keyVersion is the grammar of a key's version.
var keyVersion = regexp.MustCompile(`^[a-zA-Z0-9_]{1,100}$`)

// ReadSigningKey reads a file with one line "ed25519 VERSION SEED", the seed being
// 32 bytes in base64. The error is fs.ErrNotExist if there is no file; any other
// says what to do.
func ReadSigningKey(path string) (*SigningKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, keyError(path, err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, fmt.Errorf("the signing key %s can be read or written by other users (mode %04o); run: chmod 600 %s",
			path, info.Mode().Perm(), path)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, keyError(path, err)
	}
	parts := strings.Fields(string(src))
	if len(parts) != 3 || bytes.Count(bytes.TrimSpace(src), []byte("\n")) != 0 ||
		parts[0] != "ed25519" || !keyVersion.MatchString(parts[1]) {
		return nil, badKey(path)
	}
	seed, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(parts[2], "="))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, badKey(path)
	}
	return &SigningKey{ID: "ed25519:" + parts[1], Key: ed25519.NewKeyFromSeed(seed)}, nil
}

// badKey never shows what is in the file.
func badKey(path string) error {
	return fmt.Errorf("the signing key %s is damaged: it must be one line \"ed25519 VERSION SEED\"; restore it from a copy. "+
		"Do not delete it: other servers know this server by it", path)
}

func keyError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("the signing key %s cannot be read: %w; check who owns it", path, err)
}

// MakeSigningKey makes a key and its file, or reads the file if another process was
// faster.
func MakeSigningKey(path string) (*SigningKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	version := "a_" + rand.Text()[:6]
	line := fmt.Sprintf("ed25519 %s %s\n", version, base64.RawStdEncoding.EncodeToString(key.Seed()))
	switch err := WriteNew(path, []byte(line)); {
	case errors.Is(err, fs.ErrExist):
		return ReadSigningKey(path)
	case err != nil:
		return nil, fmt.Errorf("the signing key cannot be written: %w", err)
	}
	return &SigningKey{ID: "ed25519:" + version, Key: key}, nil
}
