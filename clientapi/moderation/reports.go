package moderation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	reportColumns = `id, case_id, kind, reporter, room_id, event_id, user_id, reason, score, ts`
	insertReport  = `INSERT INTO report (` + reportColumns + `, evidence, claims, sha256)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	maxReport    = `SELECT COALESCE(MAX(id), 0) FROM report`
	sameReporter = `SELECT id FROM report WHERE case_id = $1 AND reporter = $2 LIMIT 1`
	ofCase       = `SELECT ` + reportColumns + ` FROM report WHERE case_id = $1 ORDER BY id LIMIT $2`
	selectReport = `SELECT ` + reportColumns + `, evidence, claims, sha256 FROM report WHERE id = $1 AND ($2 = '' OR kind = $2)`
	filterReport = ` FROM report WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR room_id = $2) AND ($3 = '' OR reporter = $3)
		AND ($4 = '' OR user_id = $4)`
	countReports  = `SELECT COUNT(*)` + filterReport
	newestReports = `SELECT ` + reportColumns + filterReport + ` ORDER BY id DESC LIMIT $5 OFFSET $6`
	oldestReports = `SELECT ` + reportColumns + filterReport + ` ORDER BY id LIMIT $5 OFFSET $6`
	deleteReport  = `DELETE FROM report WHERE id = $1`
)

// maxReportsOfCase is how many reports of a case are kept. Later ones only raise its priority.
const maxReportsOfCase = 200

// target names what a report is about, so that reports of the same thing meet.
func target(req *userapi.FileReportRequest) (string, error) {
	switch {
	case req.Kind == userapi.ReportEvent && req.EventID != "" && req.RoomID != "":
		return "event " + req.EventID, nil
	case req.Kind == userapi.ReportRoom && req.RoomID != "":
		return "room " + req.RoomID, nil
	case req.Kind == userapi.ReportUser && req.UserID != "":
		return "user " + req.UserID, nil
	}
	return "", merr.InvalidParam("A report must say what it is about")
}

func (s *Server) fileReport(ctx context.Context, req *userapi.FileReportRequest) (*userapi.FileReportResponse, error) {
	about, err := target(req)
	if err != nil {
		return nil, err
	}
	if len(req.Reason) > userapi.MaxReason {
		return nil, merr.TooLarge("The reason is longer than %d bytes", userapi.MaxReason)
	}
	if len(req.Evidence)+len(req.Claims) > userapi.MaxEvidence {
		return nil, merr.TooLarge("What belongs to the report is too large")
	}
	if strings.ContainsRune(req.Reason, 0) || req.Reporter == "" {
		return nil, merr.InvalidParam("Invalid report")
	}
	var resp *userapi.FileReportResponse
	var changed *userapi.Case
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		resp, changed = &userapi.FileReportResponse{}, nil
		c, err := openCase(tx, about, req)
		if err != nil {
			return err
		}
		resp.CaseID = c.ID
		if err := tx.Row(sameReporter, c.ID, req.Reporter).Scan(&resp.ReportID); err == nil {
			resp.Repeated = true
			return nil
		} else if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		c.Reporters++
		c.Priority = priority(c)
		c.UpdatedTS = tx.Now().UnixMilli()
		changed = c
		if err := putCase(tx, about, c); err != nil {
			return err
		}
		if c.Reporters > maxReportsOfCase {
			return nil
		}
		resp.ReportID, err = addReport(tx, c.ID, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	if changed != nil {
		userapi.CasesTopic.Publish(s.bus, changed)
	}
	return resp, nil
}

// priority puts users before rooms before single events when as many reported them, and what
// many report before all.
func priority(c *userapi.Case) int64 {
	weight := map[string]int64{userapi.ReportEvent: 1, userapi.ReportRoom: 2, userapi.ReportUser: 3}
	return c.Reporters*10 + weight[c.Kind]
}

func addReport(tx *store.Tx, caseID int64, req *userapi.FileReportRequest) (id int64, err error) {
	if err := tx.Row(maxReport).Scan(&id); err != nil {
		return 0, err
	}
	id++
	var score, sum any
	if req.Score != nil {
		score = *req.Score
	}
	after := map[string]any{"kind": req.Kind, "case": caseID}
	if len(req.Evidence) > 0 {
		hash := sha256.Sum256(req.Evidence)
		sum, after["evidence_sha256"] = hash[:], hex.EncodeToString(hash[:])
	}
	if err := tx.Exec(insertReport, id, caseID, req.Kind, req.Reporter, req.RoomID, req.EventID, req.UserID, req.Reason,
		score, tx.Now().UnixMilli(), nullable(req.Evidence), nullable(req.Claims), sum); err != nil {
		return 0, err
	}
	raw, err := json.Marshal(after)
	if err != nil {
		return 0, err
	}
	return id, record(tx, &userapi.AuditEntry{
		Actor: req.Reporter, Action: "report.file", Target: fmt.Sprint("report ", id), After: raw,
	})
}

func scanReport(scan func(...any) error, more ...any) (r userapi.Report, err error) {
	var score *int64
	err = scan(append([]any{&r.ID, &r.CaseID, &r.Kind, &r.Reporter, &r.RoomID, &r.EventID, &r.UserID, &r.Reason, &score, &r.TS}, more...)...)
	r.Score = score
	return r, err
}

func scanReports(rows *store.Rows, err error) ([]userapi.Report, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []userapi.Report{}
	for rows.Next() {
		r, err := scanReport(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

func (s *Server) reports(ctx context.Context, req *userapi.ReportsRequest) (*userapi.ReportsResponse, error) {
	if req.From < 0 {
		return nil, merr.InvalidParam("from must not be negative")
	}
	resp := &userapi.ReportsResponse{}
	err := s.db.Read(ctx, func(r *store.Reader) (err error) {
		filter := []any{req.Kind, req.RoomID, req.Reporter, req.UserID}
		if err := r.Row(countReports, filter...).Scan(&resp.Total); err != nil {
			return err
		}
		sql := newestReports
		if req.Oldest {
			sql = oldestReports
		}
		limit := pageSize(req.Limit)
		resp.Reports, err = scanReports(r.Query(sql, append(filter, min(limit, userapi.MaxReportsPage), req.From)...))
		return err
	})
	return resp, err
}

func (s *Server) getReport(ctx context.Context, req *userapi.ReportRequest) (*userapi.ReportDetails, error) {
	var d userapi.ReportDetails
	err := s.db.Read(ctx, func(r *store.Reader) (err error) {
		var evidence, claims, sum []byte
		if d.Report, err = scanReport(r.Row(selectReport, req.ID, req.Kind).Scan, &evidence, &claims, &sum); err != nil {
			return err
		}
		d.Evidence, d.Claims, d.SHA256 = evidence, claims, hex.EncodeToString(sum)
		hash := sha256.Sum256(evidence)
		d.Sealed = len(evidence) > 0 && bytes.Equal(hash[:], sum)
		return nil
	})
	return &d, notFound(err, "Report")
}

func (s *Server) deleteReport(ctx context.Context, req *userapi.DeleteReportRequest) (*userapi.Empty, error) {
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		var evidence, claims, sum []byte
		r, err := scanReport(tx.Row(selectReport, req.ID, req.Kind).Scan, &evidence, &claims, &sum)
		if err != nil {
			return err
		}
		before, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := tx.Exec(deleteReport, req.ID); err != nil {
			return err
		}
		var left int64
		if err := tx.Row(`SELECT COUNT(*) FROM report WHERE case_id = $1`, r.CaseID).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			for _, sql := range []string{`DELETE FROM report_case WHERE id = $1`, `DELETE FROM note WHERE case_id = $1`} {
				if err := tx.Exec(sql, r.CaseID); err != nil {
					return err
				}
			}
		}
		return record(tx, &userapi.AuditEntry{
			Actor: req.Actor, Action: "report.delete", Target: fmt.Sprint("report ", req.ID), Before: before,
		})
	})
	return &userapi.Empty{}, notFound(err, "Report")
}

func notFound(err error, what string) error {
	if errors.Is(err, store.ErrNoRows) {
		return merr.NotFound("%s not found", what)
	}
	return err
}
