package outbound

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Limits of a transaction (server-server API, "Transactions").
const (
	maxPDUs = 50
	maxEDUs = 100
	maxBody = 5 << 20 // bytes; less than what 50 events of the greatest size and EDUs could need
	// maxRefusals is how often a transaction may be refused as it is before it is given up.
	maxRefusals = 5
)

// txnIDs makes ids that no other transaction of ours has.
type txnIDs struct {
	prefix string
	n      atomic.Int64
}

func newTxnIDs(now time.Time) *txnIDs {
	return &txnIDs{prefix: fmt.Sprintf("%d-%s", now.UnixMilli(), rand.Text()[:8])}
}

func (t *txnIDs) next() string { return fmt.Sprintf("%s-%d", t.prefix, t.n.Add(1)) }

// step sends one transaction to a server, or finds that there is none to send.
func (q *Queues) step(ctx context.Context, s *server) {
	q.mu.Lock()
	txn := s.txn
	q.mu.Unlock()
	if txn == nil {
		var err error
		if txn, err = q.build(ctx, s); err != nil {
			if ctx.Err() == nil {
				q.o.Log.WithError(err).WithField("server", s.name).Warn("a transaction cannot be made, trying again")
				pause(ctx, q.o.Tune.Scan)
			}
			return
		}
		if txn == nil {
			q.settled(ctx, s)
			return
		}
	}
	err := q.put(ctx, s.name, txn)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		q.failed(ctx, s, txn, err)
		return
	}
	q.delivered(ctx, s, txn)
}

// put sends a transaction once.
func (q *Queues) put(ctx context.Context, name string, txn *transaction) error {
	start := time.Now()
	a, err := q.o.Ask.Open(ctx, transport.Request{
		Destination: name, Method: http.MethodPut, Path: "/_matrix/federation/v1/send/" + url.PathEscape(txn.id), Body: txn.body,
		Timeout: q.o.Tune.Answer, Reserved: true,
	}, false)
	q.metrics.sent(start, err)
	if err != nil {
		return err
	}
	defer a.Close()
	answer, err := a.Object()
	if err != nil {
		return err
	}
	results, _ := pdu.Get(answer, "pdus")
	pdu.Members(results, func(id string, result []byte) bool {
		if text, refused := pdu.GetString(result, "error"); refused && len(id) <= pdu.MaxIDLength {
			q.o.Log.WithFields(logrus.Fields{"server": name, "event": id, "error": text[:min(len(text), 200)]}).
				Debug("a server refuses an event")
		}
		return true
	})
	return nil
}

// delivered notes that a transaction was answered.
func (q *Queues) delivered(ctx context.Context, s *server, txn *transaction) {
	q.o.Ask.Health.Succeeded(s.name)
	q.drop(ctx, s, txn)
	q.mu.Lock()
	defer q.mu.Unlock()
	s.txn = nil
	s.edus = max(0, s.edus-txn.edus)
	for i := range txn.items {
		q.release(&txn.items[i])
	}
	// A transaction from before the server fell behind: it has the events up to its end.
	if n := len(txn.items); n > 0 && s.state == behind {
		s.behind = max(s.behind, txn.items[n-1].pos)
	}
}

// drop forgets what a transaction has brought. If that fails it is sent again.
func (q *Queues) drop(ctx context.Context, s *server, txn *transaction) {
	if txn.lastEDU > 0 {
		if err := q.o.DB.DropEDUs(ctx, s.name, txn.lastEDU); err != nil {
			q.o.Log.WithError(err).WithField("server", s.name).Warn("EDUs that were sent cannot be forgotten and are sent again")
		}
	}
	if len(txn.extra) == 0 {
		return
	}
	progress := storage.Progress{}
	for _, pos := range txn.extra {
		progress.Sent = append(progress.Sent, storage.ServerEvent{Server: s.name, Pos: pos})
	}
	if err := q.o.DB.WriteProgress(ctx, progress); err != nil {
		q.o.Log.WithError(err).WithField("server", s.name).Warn("events that were sent cannot be forgotten and are sent again")
	}
}

// failed notes that a transaction was not answered as it should be. It stays, to be
// sent again as it is.
func (q *Queues) failed(ctx context.Context, s *server, txn *transaction, err error) {
	wait := time.Duration(0)
	var known *merr.Error
	if errors.As(err, &known) {
		wait = known.RetryAfter
	}
	q.o.Ask.Health.Failed(s.name, wait)
	given := refused(err)
	if given {
		txn.refusals++
	}
	given = given && txn.refusals >= maxRefusals
	if given {
		q.o.Log.WithError(err).WithFields(logrus.Fields{"server": s.name, "pdus": txn.pdus}).
			Warn("a server refuses a transaction again and again; it is given up")
		q.drop(ctx, s, txn)
	}
	q.mu.Lock()
	s.fleeting.clear()
	s.txn = txn
	if given {
		// Its events hold the cursor back no longer, and the newest ones will follow.
		s.txn, s.careful = nil, true
		s.edus = max(0, s.edus-txn.edus)
		for i := range txn.items {
			q.release(&txn.items[i])
		}
	}
	if s.state == catching && (given || s.catchup == nil || !s.catchup.done) {
		s.fallBack()
	}
	q.mu.Unlock()
	q.fallBehind(ctx, s.name)
}

// refused reports whether a server has answered that it does not take a transaction as it is:
// there is no use in repeating it for ever.
func refused(err error) bool {
	switch status := transport.StatusOf(err); status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return status >= 400 && status < 500
	}
}

// encode makes the body of a transaction.
func (q *Queues) encode(pdus, edus []json.RawMessage) []byte {
	size := 200
	for _, p := range pdus {
		size += len(p) + 1
	}
	for _, e := range edus {
		size += len(e) + 1
	}
	out := make([]byte, 0, size)
	list := func(key string, values []json.RawMessage) {
		out = append(append(out, `,"`...), key...)
		out = append(out, `":[`...)
		for i, v := range values {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, v...)
		}
		out = append(out, ']')
	}
	out = pdu.AppendString(append(out, `{"origin":`...), q.o.ServerName)
	out = fmt.Appendf(out, `,"origin_server_ts":%d`, q.o.Now().UnixMilli())
	list("pdus", pdus)
	if len(edus) > 0 {
		list("edus", edus)
	}
	return append(out, '}')
}
