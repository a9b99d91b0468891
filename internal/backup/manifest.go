package backup

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"hearth/internal/pdu"
)

// manifestName is the file that makes a directory a backup. It is written last.
const manifestName = "manifest.json"

// format is the version of the manifest.
const format = 1

// maxManifest bounds a manifest: a line for each of a hundred million files is more
// than anybody has.
const maxManifest = 16 << 30

// Manifest says what a backup holds. It is signed as Matrix signs JSON (appendices,
// "Signing JSON").
type Manifest struct {
	Format     int    `json:"format"`
	ServerName string `json:"server_name"`
	// Program is the version of the program that made the backup.
	Program string `json:"program"`
	// Begun and Ended are in milliseconds since 1970. The backup holds everything that
	// was acknowledged before Begun.
	Begun int64 `json:"begun"`
	Ended int64 `json:"ended"`
	// Databases is empty if they are in PostgreSQL and so not in the backup.
	Databases []Database `json:"databases"`
	Files     []File     `json:"files"`
	// KeyID and PublicKey are the key that signed.
	KeyID     string `json:"key_id"`
	PublicKey string `json:"public_key"`
}

// Database is one component's database.
type Database struct {
	Component string `json:"component"`
	Version   int64  `json:"version"`  // of the schema
	Position  int64  `json:"position"` // the last of its log
}

// File is one file of the backup, by its path with slashes.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// sign returns the manifest as it is stored.
func (m *Manifest) sign(s pdu.Signer) ([]byte, error) {
	m.KeyID = s.KeyID
	m.PublicKey = base64.RawStdEncoding.EncodeToString(s.Key.Public().(ed25519.PublicKey))
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return pdu.SignJSON(text, s)
}

// readManifest reads the manifest of a backup and checks its signature.
func readManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s is no backup, or one that was not finished: it has no %s", dir, manifestName)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxManifest:
		return nil, fmt.Errorf("%s is no file of a backup", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%s has format %d, this program knows %d", path, m.Format, format)
	}
	key, err := base64.RawStdEncoding.DecodeString(m.PublicKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%s names no key", path)
	}
	if err := pdu.VerifyJSON(text, m.ServerName, m.KeyID, key); err != nil {
		return nil, fmt.Errorf("%s was changed: its signature does not match: %w", path, err)
	}
	return &m, nil
}

// sum returns the size and the hash of a file's content.
func sum(path string) (size int64, hash string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return 0, "", err
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}
