//go:build race

package thumb

// raced says that the race detector makes everything many times slower.
const raced = true
