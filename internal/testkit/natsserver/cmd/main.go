// Command natsserver runs an ordinary NATS server without JetStream on a loopback
// port, for tests that kill it.
package main

import (
	"flag"
	"fmt"
	"os"

	"hearth/internal/testkit/natsserver"
)

func main() {
	port := flag.Int("port", 0, "port on 127.0.0.1; 0 for a free one")
	flag.Parse()
	if err := run(*port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(port int) error {
	srv, err := natsserver.New(port)
	if err != nil {
		return err
	}
	fmt.Printf("%s%d\n", natsserver.Ready, natsserver.Port(srv))
	srv.WaitForShutdown()
	return nil
}
