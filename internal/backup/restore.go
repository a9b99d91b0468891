package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const restoring = ".restoring"

// Restore verifies the backup dir and puts it into dataDir, which must be empty or not
// exist; its parent must be writable. finish runs on the data before it gets its name, so
// that no server starts on data that is not whole. Nothing is left behind by an error; what
// a kill leaves is <dataDir>.restoring.
func Restore(ctx context.Context, dir, key, dataDir string, finish func(dataDir string) error) (*Manifest, error) {
	entries, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty: a backup is put back into an empty data directory only", dataDir)
	}
	m, err := Verify(ctx, dir, key)
	if err != nil {
		return nil, err
	}
	staging := dataDir + restoring
	if err := os.RemoveAll(staging); err != nil {
		return nil, err
	}
	err = stage(ctx, m, dir, staging)
	if err == nil {
		err = finish(staging)
	}
	if err == nil {
		err = syncTree(staging)
	}
	if err == nil {
		err = os.Rename(staging, dataDir) // replaces an empty directory
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(staging))
	}
	return m, syncDir(filepath.Dir(dataDir))
}

// stage copies the files, and checks each copy: they may have been changed since they were
// verified.
func stage(ctx context.Context, m *Manifest, dir, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.FromSlash(f.Path)
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(dir, name), target); err != nil {
			return err
		}
		if size, hash, err := sum(target); err != nil {
			return err
		} else if size != f.Size || hash != f.SHA256 {
			return fmt.Errorf("%s changed while it was copied", f.Path)
		}
	}
	return nil
}
