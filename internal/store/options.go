package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

// Policy says what the failure of one op does to the others.
type Policy int

const (
	// Independent undoes a failed op alone; the other ops of its batch are stored.
	Independent Policy = iota
	// Chained lets ops build on others that are not yet stored: a failed staged op
	// fails its whole batch and everything that is queued, and bumps the generation.
	Chained
)

// Options describes one component's database.
type Options struct {
	// Component names the SQLite file (<DataDir>/<Component>.db) or the PostgreSQL
	// schema. It is a lower-case word.
	Component string
	// DataDir is the directory of the SQLite file. Open creates it with mode 0700.
	DataDir string
	// URL is a postgres:// URL. Empty means SQLite.
	URL string
	// Migrations holds NNNN_name.sql files, numbered 1, 2, 3 … without gaps, at its
	// root or in a folder named migrations; see the package comment.
	Migrations fs.FS
	// Policy is Independent unless set.
	Policy Policy
	// Readers is the number of reading connections, 4 unless set.
	Readers int
	// QueueLimit bounds the ops that wait for the writer, 4096 unless set.
	QueueLimit int
	// Log receives what an operator should know. Nil is silent.
	Log *logrus.Entry
	// Metrics, if not nil, receives the counters of Stats.
	Metrics prometheus.Registerer
	// Now is the clock behind Tx.Now, time.Now unless set. Leases use the database's
	// clock, never this one.
	Now func() time.Time
}

const (
	defaultReaders    = 4
	defaultQueueLimit = 4096
)

var componentName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,40}$`)

// withDefaults returns o with every field set, or an error that says which field
// is wrong.
func (o Options) withDefaults() (Options, error) {
	if !componentName.MatchString(o.Component) {
		return o, fmt.Errorf("store: component name %q is not a lower-case word", o.Component)
	}
	if o.URL == "" && o.DataDir == "" {
		return o, errors.New("store: neither a data directory nor a database URL is given")
	}
	if o.Readers <= 0 {
		o.Readers = defaultReaders
	}
	if o.QueueLimit <= 0 {
		o.QueueLimit = defaultQueueLimit
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		o.Log = logrus.NewEntry(silent)
	}
	o.Log = o.Log.WithField("store", o.Component)
	return o, nil
}
