package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFaults bounds how many faults are told.
const maxFaults = 20

// Verify checks that dir is a whole backup in which nothing was changed since it was made:
// the manifest's signature, every file by its hash, and that nothing else is there. key, if
// not empty, is the public key, in unpadded base64, that must have signed; without it the
// manifest's own is used, and then a stranger could have made the whole backup.
func Verify(ctx context.Context, dir, key string) (*Manifest, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if key != "" && key != m.PublicKey {
		return nil, fmt.Errorf("the backup was signed with the key %s, not with %s", m.PublicKey, key)
	}
	listed := map[string]bool{manifestName: true}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	for _, f := range m.Files {
		if len(faults) >= maxFaults {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || listed[f.Path] {
			fault("%q is no name in a backup", f.Path)
			continue
		}
		listed[f.Path] = true
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if info, err := os.Lstat(path); err != nil {
			fault("%s: %w", f.Path, err)
		} else if !info.Mode().IsRegular() {
			fault("%s is no regular file", f.Path)
		} else if size, hash, err := sum(path); err != nil {
			fault("%s: %w", f.Path, err)
		} else if size != f.Size || hash != f.SHA256 {
			fault("%s was changed", f.Path)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || len(faults) >= maxFaults {
			return err
		}
		if rest, err := filepath.Rel(dir, path); err != nil || !listed[filepath.ToSlash(rest)] {
			fault("%s is not in the manifest", path)
		}
		return nil
	})
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", dir, err)
	}
	return m, nil
}
