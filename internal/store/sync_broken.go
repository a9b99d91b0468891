//go:build hearth_lose_commits

package store

// A program that is built with this tag loses commits when the power fails. It exists so
// that the test of power cuts can show that it would notice.
const synchronous, synchronousValue = "NORMAL", "1"
