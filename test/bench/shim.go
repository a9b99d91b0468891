package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
)

// shim is a testing.TB outside of a test: what the harness needs of one.
type shim struct {
	testing.TB // for its unexported method; the ones below are those that are called
	verbose    bool
	failed     bool
	cleanups   []func()
}

// guarded runs f with a shim and then its cleanups; the result is an exit code.
func guarded(f func(t *shim)) int {
	t := &shim{}
	done := make(chan struct{})
	go func() { // Fatal ends its goroutine
		defer close(done)
		f(t)
	}()
	<-done
	for _, cleanup := range slices.Backward(t.cleanups) {
		cleanup()
	}
	if t.failed {
		return 1
	}
	return 0
}

func (t *shim) Helper()          {}
func (t *shim) Name() string     { return "bench" }
func (t *shim) Failed() bool     { return t.failed }
func (t *shim) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *shim) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }

func (t *shim) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (t *shim) Error(args ...any) {
	t.failed = true
	t.Log(args...)
}

func (t *shim) Errorf(format string, args ...any) {
	t.failed = true
	t.Logf(format, args...)
}

func (t *shim) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

func (t *shim) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// say tells what is being done, if that is wanted.
func (t *shim) say(format string, args ...any) {
	if t.verbose {
		t.Logf(format, args...)
	}
}
