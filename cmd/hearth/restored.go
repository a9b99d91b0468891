package main

import (
	"context"
	"fmt"

	"hearth/clientapi"
)

// restored tells the server that its databases were put back from a backup.
func restored(_ context.Context, p *program, args []string) error {
	fs := p.flags("restored", "", "Says that the databases were put back from a backup; run it while the server is stopped, where\n"+
		"clientapi runs. At the next start encryption keys that may have been given out since the backup\n"+
		"are dropped. SQLite databases that were put back alone are noticed without it; it is needed after\n"+
		"the whole data directory or a PostgreSQL database was put back.")
	path := fs.String("config", "", configHelp)
	if _, err := parseFlags(fs, args, 0); err != nil {
		return err
	}
	if *path == "" {
		*path = p.defaultConfig()
	}
	c, err := p.load(*path)
	if err != nil {
		return err
	}
	if err := clientapi.MarkRestored(c.DataDir); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "noted: unclaimed one-time keys will be dropped at the next start")
	return nil
}
