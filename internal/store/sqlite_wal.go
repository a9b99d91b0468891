package store

import (
	"context"
	"fmt"
)

// SQLite's own checkpoints are off: they would run inside a commit that somebody
// waits for. The writer makes them between batches.
const (
	pageSize = 4096
	// walSoftLimit is the frames after which a passive checkpoint is made: 8 MiB.
	walSoftLimit = 8 << 20 / pageSize
	// walHardLimit is the frames after which the WAL is truncated even if that has to
	// wait for readers: 64 MiB.
	walHardLimit = 64 << 20 / pageSize
	// freePages is how many free pages the file may keep for reuse.
	freePages = 1024
	// vacuumStep bounds the pages that are given back at a time: 4 MiB.
	vacuumStep = 1024
)

type walState struct {
	retryAt int64 // frames at which to try again while a reader holds the WAL
	dirty   bool  // something was committed since the last truncation
	batches int   // committed since somebody looked at the size
	bytes   int   // of their arguments
}

// Looking costs a statement, so it is not done after every batch.
const (
	lookBatches = 16
	lookBytes   = 256 << 10
)

// between keeps the WAL short.
func (e *sqlite) between() error {
	e.wal.dirty = true
	e.wal.batches++
	e.wal.bytes += e.bytes
	if e.wal.batches < lookBatches && e.wal.bytes < lookBytes {
		return nil
	}
	e.wal.batches, e.wal.bytes = 0, 0
	_, frames, _, err := e.walCheckpoint("NOOP")
	if err != nil {
		return err
	}
	if frames < walSoftLimit {
		e.wal.retryAt = 0
		return nil
	}
	if frames < e.wal.retryAt {
		return nil
	}
	if frames >= walHardLimit {
		err = e.checkpoint("TRUNCATE")
	} else {
		err = e.checkpoint("PASSIVE")
	}
	// If a reader pins the WAL it did not start anew: wait for as much again. If it
	// will start anew with the next commit, the count falls below the limit by itself.
	e.wal.retryAt = frames + walSoftLimit
	return err
}

// idle empties the WAL and gives free pages back to the file system.
func (e *sqlite) idle() error {
	if !e.wal.dirty {
		return nil
	}
	var free int64
	if err := first(e.w.query(context.Background(), "PRAGMA freelist_count", nil)).Scan(&free); err != nil {
		return err
	}
	if free > freePages {
		// Each step of the statement gives one page back.
		rows, err := e.w.query(context.Background(), fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumStep), nil)
		if err == nil {
			_, err = drain(rows)
		}
		if err != nil {
			return err
		}
		return e.checkpoint("PASSIVE") // and come again for the next step
	}
	if err := e.checkpoint("TRUNCATE"); err != nil {
		return err
	}
	e.wal.dirty = false
	return nil
}

// checkpoint copies the WAL into the file. TRUNCATE waits for readers, but not long:
// the writer stands still meanwhile.
func (e *sqlite) checkpoint(mode string) error {
	if err := e.w.script("PRAGMA busy_timeout=50"); err != nil {
		return err
	}
	busy, frames, done, err := e.walCheckpoint(mode)
	if restore := e.w.script("PRAGMA busy_timeout=5000"); err == nil {
		err = restore
	}
	if err != nil {
		return fmt.Errorf("store: checkpoint of %s: %w", e.path, err)
	}
	e.checkpoints.Add(1)
	if busy != 0 || done < frames {
		e.log.WithField("frames", frames-done).Debug("checkpoint waits for readers")
	}
	return nil
}

// walCheckpoint runs a checkpoint and returns whether something held it up, the
// frames in the WAL and how many of them are in the file. NOOP only looks.
func (e *sqlite) walCheckpoint(mode string) (busy, frames, done int64, err error) {
	err = first(e.w.query(context.Background(), "PRAGMA wal_checkpoint="+mode, nil)).Scan(&busy, &frames, &done)
	return busy, frames, done, err
}
