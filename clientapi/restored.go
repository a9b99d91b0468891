package clientapi

import "hearth/clientapi/storage"

// MarkRestored leaves a mark in the data directory that the user store was put back
// from a backup, which its next start heeds: keys that may have been given out since
// are dropped.
func MarkRestored(dataDir string) error { return storage.MarkRestored(dataDir) }
