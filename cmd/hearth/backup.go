package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"hearth/clientapi"
	"hearth/config"
	"hearth/internal/backup"
	"hearth/internal/pdu"
)

const keyHelp = "the public key, in base64, that must have signed; it is printed when a backup is made"

// makeBackup copies the server's data while the server works, or stands still.
func makeBackup(ctx context.Context, p *program, args []string) error {
	fs := p.flags("backup", "DIRECTORY", "Copies all data of the server into a new directory, while the server works or stands still: databases,\n"+
		"media, the signing key and the configuration. Keep it as safe as the data itself.\n"+
		"With PostgreSQL use pg_dump for the databases first, then --without-databases for the rest.")
	path := fs.String("config", "", configHelp)
	without := fs.Bool("without-databases", false, "leave the databases out, because they are in PostgreSQL")
	rest, err := parseFlags(fs, args, 1)
	if err != nil {
		return err
	}
	if *path == "" {
		*path = p.defaultConfig()
	}
	c, err := p.load(*path)
	if err != nil {
		return err
	}
	if c.Database.URL != "" && !*without {
		return fmt.Errorf("the databases are in PostgreSQL: copy them with pg_dump --format=custom --file FILE DATABASE, " +
			"and then the rest with hearth backup --without-databases DIRECTORY")
	}
	if c.Database.URL == "" && *without {
		return usageError{"--without-databases is for PostgreSQL; here they are files"}
	}
	key, err := config.ReadSigningKey(c.SigningKeyPath())
	if err != nil {
		return fmt.Errorf("the signing key %s: %w", c.SigningKeyPath(), err)
	}
	m, err := backup.Make(ctx, backup.Options{
		DataDir: c.DataDir, KeyFile: c.SigningKeyPath(), ConfigFile: *path, Program: version(), WithoutDatabases: *without,
		Signer: pdu.Signer{ServerName: c.ServerName, KeyID: key.ID, Key: key.Key}, Now: time.Now,
	}, filepath.Clean(rest[0]))
	if err != nil {
		return err
	}
	p.describe("made", rest[0], m)
	return nil
}

func verifyBackup(ctx context.Context, p *program, args []string) error {
	fs := p.flags("backup verify", "DIRECTORY", "Checks that a backup is whole and that nothing in it was changed.")
	key := fs.String("key", "", keyHelp)
	rest, err := parseFlags(fs, args, 1)
	if err != nil {
		return err
	}
	m, err := backup.Verify(ctx, filepath.Clean(rest[0]), *key)
	if err != nil {
		return err
	}
	p.describe("verified", rest[0], m)
	return nil
}

func restore(ctx context.Context, p *program, args []string) error {
	fs := p.flags("restore", "BACKUP DATA-DIRECTORY", "Verifies a backup and puts it into an empty data directory. At the next start encryption keys that\n"+
		"may have been given out since the backup are dropped.")
	key := fs.String("key", "", keyHelp)
	rest, err := parseFlags(fs, args, 2)
	if err != nil {
		return err
	}
	m, err := backup.Restore(ctx, filepath.Clean(rest[0]), *key, filepath.Clean(rest[1]), clientapi.MarkRestored)
	if err != nil {
		return err
	}
	p.describe("restored", rest[0], m)
	if len(m.Databases) == 0 {
		fmt.Fprintln(p.stdout, "  put the databases back with pg_restore before you start the server")
	}
	fmt.Fprintf(p.stdout, "  its configuration is %s\n", filepath.Join(rest[1], "hearth.yaml"))
	return nil
}

// describe tells what is in a backup.
func (p *program) describe(done, dir string, m *backup.Manifest) {
	var size int64
	for _, f := range m.Files {
		size += f.Size
	}
	fmt.Fprintf(p.stdout, "%s %s: %s as of %s, %d databases, %d files, %d bytes\n", done, dir, m.ServerName,
		time.UnixMilli(m.Begun).UTC().Format(time.RFC3339), len(m.Databases), len(m.Files), size)
	fmt.Fprintf(p.stdout, "  signed with %s, public key %s\n", m.KeyID, m.PublicKey)
}
