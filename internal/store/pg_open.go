package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// configure sets what all connections have.
func configure(c *pgconn.Config, schema string) {
	c.ConnectTimeout = 5 * time.Second
	c.RuntimeParams["search_path"] = quoteName(schema)
	c.RuntimeParams["application_name"] = "hearth " + schema
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3,
		},
	}
	c.DialFunc = dialer.DialContext
}

// openPostgresEngine takes the lease, checks the schema and migrates it.
func openPostgresEngine(ctx context.Context, o Options, files []migration) (*postgres, int64, error) {
	config, err := pgconn.ParseConfig(o.URL)
	if err != nil {
		return nil, 0, fmt.Errorf("store: database URL: %w", err)
	}
	configure(config, o.Component)
	for name, value := range map[string]string{
		"synchronous_commit":                  "on",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "60s",
		// A holder that vanished without a word loses its session after about 15 s.
		"tcp_keepalives_idle": "6", "tcp_keepalives_interval": "3", "tcp_keepalives_count": "3",
	} {
		config.RuntimeParams[name] = value
	}
	e := &postgres{schema: o.Component, config: config, log: o.Log}
	if err := e.connect(ctx); err != nil {
		return nil, 0, fmt.Errorf("store: connect to the database: %w", err)
	}
	if err := e.open(ctx, o, files); err != nil {
		e.hangUp()
		return nil, 0, err
	}
	return e, e.head, nil
}

func (e *postgres) open(ctx context.Context, o Options, files []migration) error {
	if err := e.acquire(ctx); err != nil {
		return err
	}
	if err := migrate(&pgSchema{e: e, ctx: ctx, now: o.Now}, o.Component, files); err != nil {
		return err
	}
	if err := e.idle(); err != nil { // the lease was long for migrating
		return fmt.Errorf("store: renew the lease: %w", err)
	}
	var err error
	if e.readers, err = newPgPool(o.URL, o.Component, o.Readers); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// connect opens the writer's session and checks that its commits are durable.
func (e *postgres) connect(ctx context.Context) error {
	c, err := pgconn.ConnectConfig(ctx, e.config)
	if err != nil {
		return err
	}
	e.w = newPgSession(c)
	e.sessions.Add(1)
	var synchronous, fsync string
	err = e.one(ctx, "SELECT current_setting('synchronous_commit'), current_setting('fsync')", nil, &synchronous, &fsync)
	if err != nil {
		return err
	}
	if version, _, _ := strings.Cut(c.ParameterStatus("server_version"), "."); len(version) > 1 && version >= "14" {
		// Without this the server notices the death of a client only after the statement
		// that it runs, which for a migration can take long.
		var interval string
		err := e.one(ctx, "SELECT set_config('client_connection_check_interval', '1s', false)", nil, &interval)
		if err != nil {
			return err
		}
	}
	if synchronous != "on" {
		return fmt.Errorf("synchronous_commit is %q, need \"on\": commits would not be durable", synchronous)
	}
	if fsync != "on" {
		e.log.Warn("the database server runs with fsync off: a power cut will lose acknowledged writes")
	}
	return nil
}

// one runs a statement outside of a batch and scans its first row.
func (e *postgres) one(ctx context.Context, sql string, args []any, dst ...any) error {
	e.w.reset()
	cmd, err := e.w.command(ctx, sql, args)
	if err != nil {
		return err
	}
	rows, _, _, err := e.w.run(ctx, []pgCommand{cmd})
	if err != nil {
		return err
	}
	return first(rows.rows(), nil).Scan(dst...)
}

// quoteName quotes a component's name, which may be a reserved word such as "user".
func quoteName(name string) string { return `"` + name + `"` }

func (e *postgres) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	e.w.c.Close(ctx)
}

// close gives the lease back, if it is still ours, and ends all sessions.
func (e *postgres) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var err error
	if !e.w.c.IsClosed() {
		var n int64
		err = e.one(ctx, "UPDATE writer SET until = 0, holder = '' WHERE slot = 0 AND epoch = $1 RETURNING 1", []any{e.epoch}, &n)
		if errors.Is(err, ErrNoRows) {
			err = nil
		}
		// The server would free the lock when it sees that the session is over: some time
		// after Close returned.
		err = errors.Join(err, e.w.c.Exec(ctx, "SELECT pg_advisory_unlock_all()").Close())
	}
	e.hangUp()
	if e.readers != nil {
		e.readers.close()
	}
	return err
}
