package main

import (
	"fmt"
	"io"

	"github.com/sirupsen/logrus"

	"hearth/config"
)

const timestamps = "2006-01-02T15:04:05.000Z07:00"

// newLog returns the log of the process.
func newLog(c config.Logging, w io.Writer) (*logrus.Logger, error) {
	level, err := logrus.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("logging.level: %w", err)
	}
	log := logrus.New()
	log.SetOutput(w)
	log.SetLevel(level)
	if c.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: timestamps})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: timestamps})
	}
	return log, nil
}

// warn tells what an operator may not expect from a good configuration.
func warn(c *config.Config, log *logrus.Logger) {
	for key, set := range map[string]bool{
		"url_previews.enabled: true":  c.URLPreviews.Enabled,
		"registration.mode: token":    c.Registration.Mode == "token",
		"registration.mode: approval": c.Registration.Mode == "approval",
	} {
		if set {
			log.WithField("key", key).Warn("this version cannot do what the configuration asks for; it stays off")
		}
	}
	if !loopback(c.Listeners.Admin.Address) {
		log.WithField("address", c.Listeners.Admin.Address).
			Warn("the admin API can be reached from other machines, without TLS; 127.0.0.1 is safer")
	}
}
