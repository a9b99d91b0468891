// Package store is the one storage layer of Hearth.
package store
