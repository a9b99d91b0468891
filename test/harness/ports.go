package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports come from below the range from which the system takes the local end of
// connections: a client that keeps dialling a stopped server could else be given the
// server's own port.
const (
	firstPort = 10_000
	lastPort  = 32_000
)

// freePorts returns n different ports of 127.0.0.1 on which nobody listens.
func freePorts(n int) ([]int, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // it has served its purpose
		}
	}()
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > 1000 {
			return nil, fmt.Errorf("no %d free ports", n)
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		held, ports = append(held, l), append(ports, port)
	}
	return ports, nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
