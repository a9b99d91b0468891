// Package deep keeps stacks of waiting goroutines small. A stack grows to what the
// deepest call needs and stays like that while the goroutine waits; so a long-poll that
// looks for news itself waits with 8 KiB more than one that has somebody else look.
package deep

import "fmt"

// Call runs f on a goroutine of its own and returns its error. A panic of f is one of
// the caller's.
func Call(f func() error) error {
	end := make(chan error)
	var panicked any
	go func() {
		var err error
		defer func() {
			panicked = recover()
			end <- err
		}()
		err = f()
	}()
	err := <-end
	if panicked != nil {
		panic(fmt.Sprint(panicked)) // with its text, which is what gets logged
	}
	return err
}
