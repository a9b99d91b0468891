package config

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CheckFiles reads the files that the configuration names, except the signing key,
// and returns what is wrong with them as one error, a line for each.
func (c *Config) CheckFiles() error {
	var all []error
	for key, l := range map[string]Listener{
		"listeners.client": c.Listeners.Client, "listeners.federation": c.Listeners.Federation,
	} {
		if _, err := l.TLS(); err != nil {
			all = append(all, fmt.Errorf("%s: %w", key, err))
		}
	}
	if c.Federation.CAFile != "" {
		pem, err := os.ReadFile(c.Federation.CAFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no PEM certificate", c.Federation.CAFile)
		}
		if err != nil {
			all = append(all, fmt.Errorf("federation.ca_file: %w", err))
		}
	}
	for _, path := range c.Appservices {
		if _, err := os.Stat(path); err != nil {
			all = append(all, fmt.Errorf("appservices: %w", err))
		}
	}
	return errors.Join(all...)
}

// TLS returns the TLS configuration of a listener, nil if it speaks plain HTTP.
func (l Listener) TLS() (*tls.Config, error) {
	if l.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(l.TLSCert, l.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("tls_cert %s with tls_key %s: %w", l.TLSCert, l.TLSKey, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// WriteNew makes a file that its owner alone can read, and its directory (0700) if
// that is missing. After a crash the file is there whole or not at all. If there is
// one already it stays, and the error is fs.ErrExist.
func WriteNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // the link below keeps the content
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, fails if the name is taken.
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
