// Package backup copies a server's data while the server works, checks such copies and
// puts them back.
//
// A backup is a directory. Each database in it is one moment, and the moments follow each
// other within milliseconds, from those who follow logs to those who own them: so no
// follower has seen more of a log than the log holds. Files of the content repository,
// which never change, come after them and share their space on disk if they can. The
// manifest is written last, when everything else is on disk, and then the directory gets
// its name; a backup that was interrupted is never taken for one.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"hearth/internal/pdu"
	"hearth/internal/store"
)

// owners have logs that others follow; their databases are looked at last, in this order.
var owners = []string{"userstore", "roomserver"}

const (
	mediaDir   = "media/files"
	keyName    = "signing.key"
	configName = "hearth.yaml"
	unfinished = ".unfinished"
)

// Options say what to copy.
type Options struct {
	// DataDir is the server's data directory.
	DataDir string
	// KeyFile and ConfigFile are copied as signing.key and hearth.yaml.
	KeyFile, ConfigFile string
	// Signer signs the manifest.
	Signer pdu.Signer
	// Program is the version of this program.
	Program string
	// WithoutDatabases leaves them out, because they are in PostgreSQL.
	WithoutDatabases bool
	Now              func() time.Time
}

// Make makes the backup dir, which must not exist. It returns what is in it.
func Make(ctx context.Context, o Options, dir string) (*Manifest, error) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already; name a new directory", dir)
		}
		return nil, err
	}
	b := &maker{o: o, dir: dir + unfinished, m: Manifest{
		Format: format, ServerName: o.Signer.ServerName, Program: o.Program, Databases: []Database{}, Files: []File{},
	}}
	lock, err := b.claim()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := b.make(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	if err := os.Rename(b.dir, dir); err != nil {
		return nil, err
	}
	return &b.m, syncDir(filepath.Dir(dir))
}

type maker struct {
	o   Options
	dir string // what is being made
	m   Manifest
}

// claim makes the directory in place of one that an interrupted backup left.
func (b *maker) claim() (*os.File, error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.Open(b.dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: another backup is at work: %w", b.dir, err)
	}
	left, err := os.ReadDir(b.dir)
	for _, entry := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, entry.Name())))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func (b *maker) make(ctx context.Context) error {
	b.m.Begun = b.o.Now().UnixMilli()
	if !b.o.WithoutDatabases {
		if err := b.databases(ctx); err != nil {
			return err
		}
	}
	if err := b.media(ctx); err != nil {
		return err
	}
	for _, f := range []struct{ from, name string }{{b.o.KeyFile, keyName}, {b.o.ConfigFile, configName}} {
		if err := copyFile(f.from, filepath.Join(b.dir, f.name)); err != nil {
			return err
		}
		if err := b.note(f.name); err != nil {
			return err
		}
	}
	b.m.Ended = b.o.Now().UnixMilli()
	if err := syncTree(b.dir); err != nil {
		return err
	}
	text, err := b.m.sign(b.o.Signer)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(b.dir, manifestName), text)
}

// databases copies all databases of the data directory.
func (b *maker) databases(ctx context.Context) (err error) {
	components, err := databasesIn(b.o.DataDir)
	if err != nil {
		return err
	}
	if !slices.Contains(components, "roomserver") {
		return fmt.Errorf("%s holds no database of Hearth", b.o.DataDir)
	}
	var moments []*store.Snapshot
	defer func() {
		for _, s := range moments {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, c := range components {
		s, err := store.TakeSnapshot(ctx, b.o.DataDir, c)
		if err != nil {
			return err
		}
		moments = append(moments, s)
	}
	for _, s := range moments {
		name := s.Component + ".db"
		if err := s.Copy(ctx, filepath.Join(b.dir, name)); err != nil {
			return err
		}
		if err := b.note(name); err != nil {
			return err
		}
		b.m.Databases = append(b.m.Databases, Database{Component: s.Component, Version: s.Version, Position: s.Position})
	}
	return nil
}

// databasesIn returns the names of the databases in a directory, owners of logs last.
func databasesIn(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range paths {
		out = append(out, strings.TrimSuffix(filepath.Base(p), ".db"))
	}
	slices.SortStableFunc(out, func(a, b string) int { return slices.Index(owners, a) - slices.Index(owners, b) })
	return out, nil
}

// media copies the files of the content repository. One that is gone was removed after
// the databases were looked at.
func (b *maker) media(ctx context.Context) error {
	root := filepath.Join(b.o.DataDir, filepath.FromSlash(mediaDir))
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := mediaDir + "/" + filepath.ToSlash(rest)
		to := filepath.Join(b.dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file", path)
		}
		if err = os.Link(path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = copyFile(path, to) // another file system
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return b.note(name)
	})
}

// note adds a file that is in the backup to the manifest.
func (b *maker) note(name string) error {
	size, hash, err := sum(filepath.Join(b.dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	b.m.Files = append(b.m.Files, File{Path: name, Size: size, SHA256: hash})
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return write(to, src)
}

// writeFile writes a file that must not exist, and syncs it and its name.
func writeFile(path string, text []byte) error {
	if err := write(path, strings.NewReader(string(text))); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func write(path string, src io.Reader) error {
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}

// syncTree syncs the names in a directory and all below it.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
