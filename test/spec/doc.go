// Package spec holds Hearth against every operation of the client-server API, as the
// specification's own documents say it: each is registered, refuses those who have no
// token, refuses what is no JSON or has the wrong types, and what it answers in a
// scenario of a few users validates against its schema, the events within included.
//
// The documents are in data/, made by the command in gen/. data/missing.txt lists the
// operations that Hearth has not got; the test fails if one of them answers, so the
// list only shrinks. To add an operation: build it, take it off that list, and see
// that a step of the scenario (steps_*_test.go) calls it; a call of an operation that
// is on the list is left out. data/gaps.txt lists what operations that are there do not
// do yet; it shrinks likewise.
package spec
