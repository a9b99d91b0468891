package harness

import "testing"

// Wiring is how the components are spread over processes.
type Wiring int

const (
	// OneProcess runs everything in one process, on SQLite and with the NATS server
	// that is embedded, unless Options say otherwise.
	OneProcess Wiring = iota
	// FourProcesses runs each component in a process of its own, on PostgreSQL and
	// with a NATS server in a fifth one.
	FourProcesses
)

// String returns the name of the wiring for names of subtests.
func (w Wiring) String() string {
	if w == FourProcesses {
		return "four processes"
	}
	return "one process"
}

// Databases for Options.Database.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Options say what to start. The zero value is one process on SQLite.
type Options struct {
	Wiring Wiring
	// Name is the server name; empty: localhost.
	Name string
	// Dir holds configuration, data and logs. A second Start with the directory of a
	// server that has been stopped continues on its data, database included. Empty: a
	// fresh one, which is removed when the test has passed.
	Dir string
	// Config may change the configuration before it is written. Keys are those of the
	// file: m["rate_limits"] = map[string]any{"enabled": true}.
	Config func(m map[string]any)
	// BusLocal sets bus.local if it is not nil.
	BusLocal *bool
	// Database is SQLite or Postgres; empty: what the wiring says.
	Database string
	// Syncs is how many processes of syncapi there are in FourProcesses; 0 means 1. The
	// further ones are called syncapi2, syncapi3 …
	Syncs int
	// Tags are build tags of the program, with commas.
	Tags string
	// Env is added to the environment of the processes of Hearth: NAME=value.
	Env []string
}

func (o *Options) fill(t testing.TB) {
	if o.Name == "" {
		o.Name = "localhost"
	}
	if o.Database == "" {
		o.Database = SQLite
		if o.Wiring == FourProcesses {
			o.Database = Postgres
		}
	}
	if o.Database != SQLite && o.Database != Postgres {
		t.Fatalf("harness: there is no database %q", o.Database)
	}
}
