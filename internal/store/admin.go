package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// AdminExec runs SQL without parameters on a PostgreSQL server, outside of any
// component: to create databases and roles, and for tests that break things.
func AdminExec(ctx context.Context, url, sql string) error {
	c, err := pgconn.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	defer c.Close(ctx)
	if err := c.Exec(ctx, sql).Close(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
