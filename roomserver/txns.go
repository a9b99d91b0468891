package roomserver

import (
	"context"
	"time"

	"hearth/internal/store"
	"hearth/roomserver/storage"
)

const (
	// txnLifetime is how long a transaction id is remembered. Clients retry for
	// minutes, or hours when a phone was off.
	txnLifetime = 24 * time.Hour
	txnSweep    = 10 * time.Minute
)

// expireTxns forgets old transaction ids, a bounded number at a time.
func (s *Server) expireTxns(ctx context.Context) {
	ticker := time.NewTicker(txnSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			before := s.now().Add(-txnLifetime).UnixMilli()
			err := s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.ExpireTxns(tx, before) })
			if err != nil && ctx.Err() == nil {
				s.log.WithError(err).Warn("could not forget old transaction ids")
			}
		}
	}
}
