package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	caseColumns = `id, kind, room_id, event_id, user_id, state, assignee, outcome, opened, updated, reporters, priority`
	selectOpen  = `SELECT ` + caseColumns + ` FROM report_case WHERE target = $1 AND state IN ($2, $3) ORDER BY id DESC LIMIT 1`
	selectCase  = `SELECT ` + caseColumns + ` FROM report_case WHERE id = $1`
	maxCase     = `SELECT COALESCE(MAX(id), 0) FROM report_case`
	upsertCase  = `INSERT INTO report_case (` + caseColumns + `, target)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, assignee = excluded.assignee, outcome = excluded.outcome,
		updated = excluded.updated, reporters = excluded.reporters, priority = excluded.priority`
	filterCases = ` FROM report_case WHERE ($1 = '' OR state = $1) AND ($2 = '' OR kind = $2) AND ($3 = '' OR assignee = $3)
		AND ($4 = '' OR room_id = $4) AND ($5 = '' OR user_id = $5)`
	countCases  = `SELECT COUNT(*)` + filterCases
	pageCases   = `SELECT ` + caseColumns + filterCases + ` ORDER BY priority DESC, id LIMIT $6 OFFSET $7`
	countStates = `SELECT state, COUNT(*) FROM report_case GROUP BY state`
	insertNote  = `INSERT INTO note (case_id, n, author, ts, body) VALUES ($1, (SELECT COALESCE(MAX(n), 0) + 1 FROM note WHERE case_id = $1), $2, $3, $4)`
	selectNotes = `SELECT author, ts, body FROM note WHERE case_id = $1 ORDER BY n LIMIT $2`
)

// maxNotes is how many notes of a case are shown.
const maxNotes = 500

// openCase returns the case of a target that is not closed, or a new one.
func openCase(tx *store.Tx, about string, req *userapi.FileReportRequest) (*userapi.Case, error) {
	c, err := scanCase(tx.Row(selectOpen, about, userapi.CaseOpen, userapi.CaseAssigned).Scan)
	if err == nil || !errors.Is(err, store.ErrNoRows) {
		return c, err
	}
	c = &userapi.Case{
		Kind: req.Kind, RoomID: req.RoomID, EventID: req.EventID, UserID: req.UserID, State: userapi.CaseOpen,
		OpenedTS: tx.Now().UnixMilli(),
	}
	if err := tx.Row(maxCase).Scan(&c.ID); err != nil {
		return nil, err
	}
	c.ID++
	return c, nil
}

func scanCase(scan func(...any) error) (*userapi.Case, error) {
	var c userapi.Case
	err := scan(&c.ID, &c.Kind, &c.RoomID, &c.EventID, &c.UserID, &c.State, &c.Assignee, &c.Outcome, &c.OpenedTS, &c.UpdatedTS,
		&c.Reporters, &c.Priority)
	return &c, err
}

// putCase writes a case. about counts only for a new one.
func putCase(tx *store.Tx, about string, c *userapi.Case) error {
	return tx.Exec(upsertCase, c.ID, c.Kind, c.RoomID, c.EventID, c.UserID, c.State, c.Assignee, c.Outcome, c.OpenedTS, c.UpdatedTS,
		c.Reporters, c.Priority, about)
}

func (s *Server) cases(ctx context.Context, req *userapi.CasesRequest) (*userapi.CasesResponse, error) {
	if req.Skip < 0 {
		return nil, merr.InvalidParam("Invalid page")
	}
	resp := &userapi.CasesResponse{Cases: []userapi.Case{}, Counts: map[string]int64{}}
	err := s.db.Read(ctx, func(r *store.Reader) error {
		filter := []any{req.State, req.Kind, req.Assignee, req.RoomID, req.UserID}
		if err := r.Row(countCases, filter...).Scan(&resp.Total); err != nil {
			return err
		}
		if err := eachRow(r, countStates, nil, func(scan func(...any) error) error {
			var state string
			var n int64
			err := scan(&state, &n)
			resp.Counts[state] = n
			return err
		}); err != nil {
			return err
		}
		return eachRow(r, pageCases, append(filter, pageSize(req.Limit), req.Skip), func(scan func(...any) error) error {
			c, err := scanCase(scan)
			resp.Cases = append(resp.Cases, *c)
			return err
		})
	})
	return resp, err
}

func eachRow(q store.Queryer, sql string, args []any, f func(scan func(...any) error) error) error {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *Server) getCase(ctx context.Context, req *userapi.CaseRequest) (d *userapi.CaseDetails, err error) {
	err = s.db.Read(ctx, func(r *store.Reader) (err error) {
		d, err = details(r, req.ID)
		return err
	})
	return d, notFound(err, "Case")
}

func details(q store.Queryer, id int64) (*userapi.CaseDetails, error) {
	c, err := scanCase(q.Row(selectCase, id).Scan)
	if err != nil {
		return nil, err
	}
	d := &userapi.CaseDetails{Case: *c, Notes: []userapi.Note{}}
	if d.Reports, err = scanReports(q.Query(ofCase, id, maxReportsOfCase)); err != nil {
		return nil, err
	}
	err = eachRow(q, selectNotes, []any{id, maxNotes}, func(scan func(...any) error) error {
		var n userapi.Note
		err := scan(&n.Author, &n.TS, &n.Text)
		d.Notes = append(d.Notes, n)
		return err
	})
	return d, err
}

func (s *Server) updateCase(ctx context.Context, req *userapi.UpdateCaseRequest) (d *userapi.CaseDetails, err error) {
	for _, text := range []string{req.Outcome, req.Reason, req.Note} {
		if len(text) > userapi.MaxReason {
			return nil, merr.TooLarge("A text is longer than %d bytes", userapi.MaxReason)
		}
	}
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		c, err := scanCase(tx.Row(selectCase, req.ID).Scan)
		if err != nil {
			return err
		}
		before := *c
		if err := change(c, req); err != nil {
			return err
		}
		c.UpdatedTS = tx.Now().UnixMilli()
		if err := putCase(tx, "", c); err != nil {
			return err
		}
		if req.Note != "" {
			if err := tx.Exec(insertNote, c.ID, req.Actor, c.UpdatedTS, req.Note); err != nil {
				return err
			}
		}
		if err := recordCase(tx, req, &before, c); err != nil {
			return err
		}
		d, err = details(tx, c.ID)
		return err
	})
	if err != nil {
		return nil, notFound(err, "Case")
	}
	userapi.CasesTopic.Publish(s.bus, &d.Case)
	return d, nil
}

// change applies a request to a case: the states are open → assigned → resolved or dismissed,
// and a closed case may be opened again.
func change(c *userapi.Case, req *userapi.UpdateCaseRequest) error {
	switch req.Assignee {
	case "":
	case "-":
		c.Assignee = ""
		if c.State == userapi.CaseAssigned {
			c.State = userapi.CaseOpen
		}
	default:
		c.Assignee = req.Assignee
		if c.State == userapi.CaseOpen {
			c.State = userapi.CaseAssigned
		}
	}
	switch req.State {
	case "":
	case userapi.CaseOpen:
		c.State, c.Outcome, c.Assignee = userapi.CaseOpen, "", ""
	case userapi.CaseAssigned:
		if c.Assignee == "" {
			return merr.InvalidParam("A case is assigned to somebody")
		}
		c.State, c.Outcome = userapi.CaseAssigned, ""
	case userapi.CaseResolved:
		if req.Outcome == "" {
			return merr.InvalidParam("A resolved case has an outcome: what was done")
		}
		c.State, c.Outcome = userapi.CaseResolved, req.Outcome
	case userapi.CaseDismissed:
		c.State, c.Outcome = userapi.CaseDismissed, req.Outcome
	default:
		return merr.InvalidParam("Unknown state of a case")
	}
	return nil
}

func recordCase(tx *store.Tx, req *userapi.UpdateCaseRequest, before, after *userapi.Case) error {
	was, err := json.Marshal(before)
	if err != nil {
		return err
	}
	is, err := json.Marshal(after)
	if err != nil {
		return err
	}
	action := "case.update"
	if before.State != after.State {
		action = "case." + after.State
	}
	return record(tx, &userapi.AuditEntry{
		Actor: req.Actor, Action: action, Target: fmt.Sprint("case ", after.ID), Reason: req.Reason, Before: was, After: is,
	})
}
