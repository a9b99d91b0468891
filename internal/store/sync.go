//go:build !hearth_lose_commits

package store

// synchronous makes SQLite sync the WAL in every commit; synchronousValue is how it tells
// so.
const synchronous, synchronousValue = "FULL", "2"
