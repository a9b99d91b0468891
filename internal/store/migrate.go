package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
)

// migration is one file. Its version is its number.
type migration struct {
	version  int64
	name     string // the file's name
	sql      string // before translation
	checksum string
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

// readMigrations returns the files in order and checks that their numbers are 1, 2, 3 …
func readMigrations(files fs.FS) ([]migration, error) {
	if files == nil {
		return nil, nil
	}
	if sub, err := fs.Stat(files, "migrations"); err == nil && sub.IsDir() {
		if files, err = fs.Sub(files, "migrations"); err != nil {
			return nil, err
		}
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, name := range names {
		m := migrationName.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("store: migration %q is not named NNNN_name.sql", name)
		}
		version, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || version != int64(i+1) {
			return nil, fmt.Errorf("store: migration %s is number %d in order", name, i+1)
		}
		sql, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(sql)
		out = append(out, migration{version, name, string(sql), hex.EncodeToString(sum[:])})
	}
	return out, nil
}

// metaTables are the store's own tables, in the schema of each component.
var metaTables = []string{
	`CREATE TABLE IF NOT EXISTS writer (slot INT PRIMARY KEY, epoch BIGINT NOT NULL, seq BIGINT NOT NULL,
		holder TEXT NOT NULL, until BIGINT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL,
		checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)`,
	`INSERT INTO writer (slot, epoch, seq, holder, until) VALUES (0, 0, 0, '', 0) ON CONFLICT (slot) DO NOTHING`,
}

// schema is what migrating needs of an engine.
type schema interface {
	// applied returns the rows of schema_version without changing anything, nothing
	// if the table does not exist.
	applied() ([]migration, error)
	// claim makes the store's own tables and raises the lease's epoch.
	claim() error
	// apply runs one translated migration and stores its row, in one transaction.
	apply(m migration) error
}

// migrate brings the database to the newest version. Before it changes anything it
// refuses a database that is newer than the program or whose history differs.
func migrate(s schema, component string, files []migration) error {
	applied, err := s.applied()
	if err != nil {
		return fmt.Errorf("store: read the schema version of %s: %w", component, err)
	}
	if n := len(applied); n > len(files) {
		return fmt.Errorf("store: database %s has schema version %d, but this program knows only versions up to %d: run a newer program",
			component, applied[n-1].version, len(files))
	}
	for i, a := range applied {
		f := files[i]
		if a.version != f.version || a.name != f.name || a.checksum != f.checksum {
			return fmt.Errorf("store: migration %s of %s is not the one that was applied (%s): a migration must not change", f.name, component, a.name)
		}
	}
	if err := s.claim(); err != nil {
		return fmt.Errorf("store: take the lease of %s: %w", component, err)
	}
	for _, f := range files[len(applied):] {
		if err := s.apply(f); err != nil {
			return fmt.Errorf("store: migration %s of %s: %w", f.name, component, err)
		}
	}
	return nil
}

var errOwnTransaction = errors.New("a migration must not begin or end transactions")
