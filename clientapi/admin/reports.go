package admin

import (
	"encoding/json"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// eventReports is GET /v1/event_reports, userReports GET /v1/user_reports.
func (s *Server) eventReports(r *matrixhttp.Request) (any, error) {
	return s.listReports(r, userapi.ReportEvent, "event_reports")
}

func (s *Server) userReports(r *matrixhttp.Request) (any, error) {
	return s.listReports(r, userapi.ReportUser, "user_reports")
}

func (s *Server) listReports(r *matrixhttp.Request, kind, name string) (any, error) {
	q := r.Query()
	req := &userapi.ReportsRequest{Kind: kind, RoomID: q.String("room_id"), Reporter: q.String("user_id"), UserID: q.String("event_sender_user_id")}
	if kind == userapi.ReportUser {
		req.UserID = q.String("target_user_id")
	}
	req.From, req.Limit = page(q, 100)
	req.Oldest = q.Enum("dir", "b", "f", "b") == "f"
	if err := q.Err(); err != nil {
		return nil, err
	}
	found, err := userapi.Reports.Do(r.Context(), s.Bus, req)
	if err != nil {
		return nil, err
	}
	list := make([]map[string]any, len(found.Reports))
	names := map[string]roomName{}
	for i := range found.Reports {
		list[i] = s.describeReport(r, &found.Reports[i], names)
	}
	out := map[string]any{name: list, "total": found.Total}
	if next := req.From + len(list); int64(next) < found.Total && len(list) > 0 {
		out["next_token"] = next
	}
	return out, nil
}

// roomName is what a list shows of a room.
type roomName struct{ name, alias any }

func (s *Server) describeReport(r *matrixhttp.Request, d *userapi.Report, names map[string]roomName) map[string]any {
	out := map[string]any{"id": d.ID, "received_ts": d.TS, "user_id": d.Reporter, "reason": d.Reason}
	if d.Kind == userapi.ReportUser {
		out["target_user_id"] = d.UserID
		return out
	}
	room, ok := names[d.RoomID]
	if !ok {
		room = s.nameOf(r, d.RoomID)
		names[d.RoomID] = room
	}
	out["room_id"], out["event_id"], out["sender"] = d.RoomID, d.EventID, d.UserID
	out["name"], out["canonical_alias"] = room.name, room.alias
	out["score"] = nil
	if d.Score != nil {
		out["score"] = *d.Score
	}
	return out
}

// nameOf returns the name of a room; nulls if it cannot be had.
func (s *Server) nameOf(r *matrixhttp.Request, room string) roomName {
	summary, err := roomapi.GetSummary.Do(r.Context(), s.Bus, &roomapi.SummaryRequest{RoomIDOrAlias: room, UserID: roomapi.Everything})
	if err != nil {
		return roomName{}
	}
	return roomName{orNull(summary.Name), orNull(summary.CanonicalAlias)}
}

func (s *Server) report(r *matrixhttp.Request, kind string) (*userapi.ReportDetails, error) {
	id, err := number(r.Param("reportId"))
	if err != nil {
		return nil, err
	}
	return userapi.GetReport.Do(r.Context(), s.Bus, &userapi.ReportRequest{Kind: kind, ID: id})
}

func number(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0, merr.InvalidParam("The id must be a number")
	}
	return id, nil
}

// eventReport is GET /v1/event_reports/{reportId}. event_json is the event as it was reported.
func (s *Server) eventReport(r *matrixhttp.Request) (any, error) {
	d, err := s.report(r, userapi.ReportEvent)
	if err != nil {
		return nil, err
	}
	out := s.describeReport(r, &d.Report, map[string]roomName{})
	var evidence struct {
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(d.Evidence, &evidence); err == nil && len(evidence.Event) > 0 {
		out["event_json"] = evidence.Event
	}
	return out, nil
}

// userReport is GET /v1/user_reports/{reportId}.
func (s *Server) userReport(r *matrixhttp.Request) (any, error) {
	d, err := s.report(r, userapi.ReportUser)
	if err != nil {
		return nil, err
	}
	return s.describeReport(r, &d.Report, nil), nil
}

// anyReport is GET /_hearth/admin/v1/reports/{reportId}: with its evidence.
func (s *Server) anyReport(r *matrixhttp.Request) (any, error) {
	d, err := s.report(r, "")
	if err != nil {
		return nil, err
	}
	return d, s.record(r, "report.read", "report "+strconv.FormatInt(d.ID, 10), "", nil, nil)
}

func (s *Server) deleteEventReport(r *matrixhttp.Request) (any, error) {
	return s.deleteReport(r, userapi.ReportEvent)
}

func (s *Server) deleteUserReport(r *matrixhttp.Request) (any, error) {
	return s.deleteReport(r, userapi.ReportUser)
}

func (s *Server) deleteReport(r *matrixhttp.Request, kind string) (any, error) {
	id, err := number(r.Param("reportId"))
	if err != nil {
		return nil, err
	}
	_, err = userapi.DeleteReport.Do(r.Context(), s.Bus, &userapi.DeleteReportRequest{Kind: kind, ID: id, Actor: r.Identity.UserID})
	return nil, err
}

// listCases is GET /_hearth/admin/v1/cases.
func (s *Server) listCases(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &userapi.CasesRequest{
		State:    q.Enum("state", "", "", userapi.CaseOpen, userapi.CaseAssigned, userapi.CaseResolved, userapi.CaseDismissed),
		Kind:     q.Enum("kind", "", "", userapi.ReportEvent, userapi.ReportRoom, userapi.ReportUser),
		Assignee: q.String("assignee"), RoomID: q.String("room_id"), UserID: q.String("user_id"),
	}
	req.Skip, req.Limit = page(q, 100)
	if err := q.Err(); err != nil {
		return nil, err
	}
	return userapi.Cases.Do(r.Context(), s.Bus, req)
}

// getCase is GET /_hearth/admin/v1/cases/{caseId}.
func (s *Server) getCase(r *matrixhttp.Request) (any, error) {
	id, err := number(r.Param("caseId"))
	if err != nil {
		return nil, err
	}
	return userapi.GetCase.Do(r.Context(), s.Bus, &userapi.CaseRequest{ID: id})
}

// updateCase is PUT /_hearth/admin/v1/cases/{caseId}.
func (s *Server) updateCase(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		State    string `json:"state"`
		Assignee string `json:"assignee"`
		Outcome  string `json:"outcome"`
		Reason   string `json:"reason"`
		Note     string `json:"note"`
	}](r)
	if err != nil {
		return nil, err
	}
	id, err := number(r.Param("caseId"))
	if err != nil {
		return nil, err
	}
	return userapi.UpdateCase.Do(r.Context(), s.Bus, &userapi.UpdateCaseRequest{
		ID: id, Actor: r.Identity.UserID, State: req.State, Assignee: req.Assignee, Outcome: req.Outcome, Reason: req.Reason, Note: req.Note,
	})
}

// auditLog is GET /_hearth/admin/v1/audit.
func (s *Server) auditLog(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	req := &userapi.AuditRequest{
		After: q.Int("after", 0, 0, 1<<60), Actor: q.String("actor"), Action: q.String("action"), Target: q.String("target"),
		Limit: int(q.Int("limit", 100, 1, 1000)),
	}
	if err := q.Err(); err != nil {
		return nil, err
	}
	return userapi.AuditLog.Do(r.Context(), s.Bus, req)
}

// verifyAudit is GET /_hearth/admin/v1/audit/verify.
func (s *Server) verifyAudit(r *matrixhttp.Request) (any, error) {
	return userapi.VerifyAudit.Do(r.Context(), s.Bus, &userapi.Empty{})
}

// sendNotice is POST /v1/send_server_notice and PUT …/{txnId}.
func (s *Server) sendNotice(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		UserID  string          `json:"user_id"`
		Content json.RawMessage `json:"content"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.UserID == "" {
		return nil, merr.MissingParam("user_id")
	}
	if len(req.Content) == 0 {
		return nil, merr.MissingParam("content")
	}
	if err := s.record(r, "notice.send", req.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	event, err := s.Notice(r, req.UserID, r.Param("txnId"), req.Content)
	if err != nil {
		return nil, err
	}
	return map[string]string{"event_id": event}, nil
}
