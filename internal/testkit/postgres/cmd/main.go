// Command cmd starts a private PostgreSQL for tests, prints its URL and stops it when
// its standard input closes or it gets SIGTERM:
//
//	HEARTH_TEST_POSTGRES=<the URL> go test ./...
package main

import (
	"fmt"
	"os"

	"hearth/internal/testkit/postgres"
)

func main() {
	if err := postgres.Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
