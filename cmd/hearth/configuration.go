package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hearth/clientapi/appservice"
	"hearth/config"
)

const configHelp = "the configuration; without it hearth.yaml in the data directory (./data)"

func configExample(_ context.Context, p *program, args []string) error {
	if _, err := parseFlags(p.flags("config example", "", "Prints the commented sample."), args, 0); err != nil {
		return err
	}
	_, err := fmt.Fprint(p.stdout, config.Example())
	return err
}

func configCheck(_ context.Context, p *program, args []string) error {
	fs := p.flags("config check", "", "Checks a configuration, the environment and the files that they name.")
	path := fs.String("config", "", configHelp)
	if _, err := parseFlags(fs, args, 0); err != nil {
		return err
	}
	if *path == "" {
		*path = p.defaultConfig()
	}
	c, err := p.load(*path)
	if err == nil {
		err = c.CheckFiles()
	}
	if err == nil {
		_, err = readKey(c)
	}
	if err == nil {
		_, err = readServices(c)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s is good: %s keeps its data in %s\n", *path, c.ServerName, c.DataDir)
	return nil
}

// defaultConfig is where the configuration is when no path is given.
func (p *program) defaultConfig() string {
	dir := config.Defaults().DataDir
	for _, entry := range p.environ {
		if value, ok := strings.CutPrefix(entry, "HEARTH_DATA_DIR="); ok && value != "" {
			dir = value
		}
	}
	return filepath.Join(dir, "hearth.yaml")
}

// load reads the file and the environment.
func (p *program) load(path string) (*config.Config, error) {
	return config.LoadWith(path, p.environ)
}

// first is the configuration of a first start, which is not yet on disk.
type first struct {
	path string
	text []byte
}

// loadOrMake reads the configuration at the default path. If there is none it makes
// one, which is written when everything that can be checked has been checked.
func (p *program) loadOrMake() (*config.Config, *first, error) {
	path := p.defaultConfig()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		c, err := p.load(path)
		return c, nil, err
	}
	text, c, err := config.First(path, p.environ)
	if err != nil {
		return nil, nil, err
	}
	return c, &first{path: path, text: text}, nil
}

func (f *first) write() error {
	if err := config.WriteNew(f.path, f.text); err != nil {
		return fmt.Errorf("the configuration cannot be written: %w", err)
	}
	return nil
}

// readServices reads the registrations of application services.
func readServices(c *config.Config) (*appservice.Registrations, error) {
	return appservice.Load(c.Appservices, c.ServerName)
}

// readKey reads the signing key; nil if there is none yet.
func readKey(c *config.Config) (*config.SigningKey, error) {
	key, err := config.ReadSigningKey(c.SigningKeyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return key, err
}
