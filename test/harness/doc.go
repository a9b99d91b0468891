// Package harness runs the whole program for tests: the real binary as one process
// or as four, with real databases and a real NATS server, and a small client that
// speaks HTTP to it.
//
// Everything listens on 127.0.0.1. Ports stay the same when a process restarts, so
// that clients find it again. Whatever was started ends with the test, also when the
// test binary is killed.
package harness
