package moderation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	// maxChange bounds Before and After of an entry, in bytes.
	maxChange = 256 << 10
	// usualPage and maxPage bound what one answer lists.
	usualPage = 100
	maxPage   = 1000
	// verifyStep is how many entries are read at once when the chain is checked.
	verifyStep = 500
)

const (
	auditColumns = `seq, ts, actor, action, target, reason, before, after, hash`
	insertAudit  = `INSERT INTO audit (` + auditColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	lastAudit    = `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`
	selectAudit  = `SELECT ` + auditColumns + ` FROM audit WHERE seq > $1
		AND ($2 = '' OR actor = $2) AND ($3 = '' OR action = $3) AND ($4 = '' OR target = $4) ORDER BY seq LIMIT $5`
)

// seal is the hash of an entry: over its fields, each with its length, and the hash before.
func seal(previous []byte, e *userapi.AuditEntry) []byte {
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	number := func(v int64) { field(binary.BigEndian.AppendUint64(nil, uint64(v))) }
	field(previous)
	number(e.Seq)
	number(e.TS)
	for _, s := range []string{e.Actor, e.Action, e.Target, e.Reason} {
		field([]byte(s))
	}
	field(e.Before)
	field(e.After)
	return h.Sum(nil)
}

// record adds an entry in a transaction.
func record(tx *store.Tx, e *userapi.AuditEntry) error {
	var previous []byte
	err := tx.Row(lastAudit).Scan(&e.Seq, &previous)
	if errors.Is(err, store.ErrNoRows) {
		e.Seq, previous = 0, nil
	} else if err != nil {
		return err
	}
	e.Seq++
	e.TS = tx.Now().UnixMilli()
	hash := seal(previous, e)
	e.Previous, e.Hash = hex.EncodeToString(previous), hex.EncodeToString(hash)
	return tx.Exec(insertAudit, e.Seq, e.TS, e.Actor, e.Action, e.Target, e.Reason, nullable(e.Before), nullable(e.After), hash)
}

func nullable(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func (s *Server) recordAction(ctx context.Context, req *userapi.AuditEntry) (*userapi.AuditEntry, error) {
	e := *req
	if e.Actor == "" || e.Action == "" {
		return nil, merr.InvalidParam("An entry of the audit log needs an actor and an action")
	}
	if len(e.Reason) > userapi.MaxReason || len(e.Before) > maxChange || len(e.After) > maxChange || len(e.Target) > userapi.MaxReason {
		return nil, merr.TooLarge("The entry is too large for the audit log")
	}
	for _, v := range []json.RawMessage{e.Before, e.After} {
		if len(v) > 0 && !json.Valid(v) {
			return nil, merr.BadJSON("An entry of the audit log holds what is not JSON")
		}
	}
	err := s.db.Write(ctx, func(tx *store.Tx) error { return record(tx, &e) })
	return &e, err
}

func (s *Server) auditLog(ctx context.Context, req *userapi.AuditRequest) (*userapi.AuditResponse, error) {
	limit := pageSize(req.Limit)
	resp := &userapi.AuditResponse{}
	err := s.db.Read(ctx, func(r *store.Reader) (err error) {
		resp.Entries, err = entries(r, req, limit+1)
		return err
	})
	if len(resp.Entries) > limit {
		resp.Entries, resp.More = resp.Entries[:limit], true
	}
	return resp, err
}

func pageSize(n int) int {
	if n <= 0 {
		return usualPage
	}
	return min(n, maxPage)
}

// entries reads entries. Previous is set where the entry before it was read as well, or there
// is none.
func entries(q store.Queryer, req *userapi.AuditRequest, limit int) ([]userapi.AuditEntry, error) {
	rows, err := q.Query(selectAudit, req.After, req.Actor, req.Action, req.Target, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []userapi.AuditEntry{}
	for rows.Next() {
		var e userapi.AuditEntry
		var before, after, hash []byte
		if err := rows.Scan(&e.Seq, &e.TS, &e.Actor, &e.Action, &e.Target, &e.Reason, &before, &after, &hash); err != nil {
			return nil, err
		}
		e.Before, e.After, e.Hash = before, after, hex.EncodeToString(hash)
		if n := len(list); n > 0 && list[n-1].Seq == e.Seq-1 {
			e.Previous = list[n-1].Hash
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

func (s *Server) verifyAudit(ctx context.Context, _ *userapi.Empty) (*userapi.AuditVerdict, error) {
	v := &userapi.AuditVerdict{}
	var previous []byte
	for {
		var page []userapi.AuditEntry
		err := s.db.Read(ctx, func(r *store.Reader) (err error) {
			page, err = entries(r, &userapi.AuditRequest{After: v.Entries}, verifyStep)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range page {
			e := &page[i]
			hash, err := hex.DecodeString(e.Hash)
			if err != nil || e.Seq != v.Entries+1 || !bytes.Equal(hash, seal(previous, e)) {
				v.Broken = v.Entries + 1
				return v, nil
			}
			v.Entries, v.Head, previous = e.Seq, e.Hash, hash
		}
		if len(page) < verifyStep {
			return v, nil
		}
	}
}
