// Command mautrix is a device at maunium.net/go/mautrix with its encryption in Go and
// its stores in memory. A test tells it what to do, as it does with js/device.mjs.
//
// It is a module of its own, so that nothing of it is among the server's dependencies.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

type request struct {
	ID   int             `json:"id"`
	Do   string          `json:"do"`
	Args json.RawMessage `json:"args"`
}

type response struct {
	ID     int    `json:"id"`
	Result any    `json:"result"`
	Error  string `json:"error,omitempty"`
}

// args are those of all commands.
type args struct {
	URL, User, Password string
	Device              string
	Room, Body          string
	Members             int
	Recovery            string
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := newDevice()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var req request
		var a args
		if err := json.Unmarshal(lines.Bytes(), &req); err == nil && len(req.Args) > 0 {
			err = json.Unmarshal(req.Args, &a)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		go func() {
			answer := response{ID: req.ID}
			result, err := d.do(ctx, req.Do, &a)
			if answer.Result = result; err != nil {
				answer.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			if err := out.Encode(answer); err != nil {
				os.Exit(1)
			}
		}()
	}
}
