package moderation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/testkit/postgres"
)

// each runs a test on both databases.
func each(t *testing.T, f func(t *testing.T, s *Server, b *bus.Bus)) {
	for _, database := range []string{"sqlite", "postgres"} {
		t.Run(database, func(t *testing.T) {
			log := logrus.New()
			log.SetOutput(io.Discard)
			b, err := bus.Connect(t.Context(), bus.Options{Local: true, Name: "test", Log: logrus.NewEntry(log)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(b.Close)
			d := Deps{Bus: b, DataDir: t.TempDir(), Log: logrus.NewEntry(log), Now: time.Now}
			if database == "postgres" {
				d.DatabaseURL = postgres.URL(t)
			}
			s, err := New(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			f(t, s, b)
		})
	}
}

func event(n int, reporter string) *userapi.FileReportRequest {
	return &userapi.FileReportRequest{
		Kind: userapi.ReportEvent, RoomID: "!r:x", EventID: fmt.Sprint("$", n), UserID: "@bad:x", Reporter: reporter, Reason: "spam",
		Evidence: json.RawMessage(fmt.Sprintf(`{"event":{"n":%d}}`, n)),
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestReportsOfOneThingShareACase(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		file := func(r *userapi.FileReportRequest) *userapi.FileReportResponse {
			t.Helper()
			return must[*userapi.FileReportResponse](t)(userapi.FileReport.Do(t.Context(), b, r))
		}
		first := file(event(1, "@a:x"))
		other := file(event(2, "@a:x"))
		second := file(event(1, "@b:x"))
		if first.CaseID != second.CaseID || first.ReportID == second.ReportID || other.CaseID == first.CaseID {
			t.Errorf("%+v %+v %+v", first, second, other)
		}
		if again := file(event(1, "@a:x")); !again.Repeated || again.ReportID != first.ReportID {
			t.Errorf("a repeated report: %+v", again)
		}
		list := must[*userapi.CasesResponse](t)(userapi.Cases.Do(t.Context(), b, &userapi.CasesRequest{State: userapi.CaseOpen}))
		if list.Total != 2 || list.Cases[0].ID != first.CaseID || list.Cases[0].Reporters != 2 || list.Counts["open"] != 2 {
			t.Errorf("the queue: %+v", list)
		}
		// A closed case is over: the next report opens another one.
		update := func(r userapi.UpdateCaseRequest) (*userapi.CaseDetails, error) {
			r.ID, r.Actor = first.CaseID, "@mod:x"
			return userapi.UpdateCase.Do(t.Context(), b, &r)
		}
		if _, err := update(userapi.UpdateCaseRequest{State: userapi.CaseResolved}); merr.From(err).Code != "M_INVALID_PARAM" {
			t.Errorf("resolved without an outcome: %v", err)
		}
		got := must[*userapi.CaseDetails](t)(update(userapi.UpdateCaseRequest{Assignee: "@mod:x", Note: "looking"}))
		if got.State != userapi.CaseAssigned || got.Notes[0].Text != "looking" || len(got.Reports) != 2 {
			t.Errorf("assigned: %+v", got)
		}
		got = must[*userapi.CaseDetails](t)(update(userapi.UpdateCaseRequest{State: userapi.CaseResolved, Outcome: "banned", Note: "done"}))
		if got.State != userapi.CaseResolved || len(got.Notes) != 2 {
			t.Errorf("resolved: %+v", got)
		}
		if third := file(event(1, "@a:x")); third.CaseID == first.CaseID || third.Repeated {
			t.Errorf("after the case was closed: %+v", third)
		}
	})
}

func TestReportsCanBeListedReadAndDeleted(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		score := int64(-100)
		for i := range 5 {
			r := event(i, fmt.Sprintf("@u%d:x", i%2))
			r.Score = &score
			must[*userapi.FileReportResponse](t)(userapi.FileReport.Do(t.Context(), b, r))
		}
		must[*userapi.FileReportResponse](t)(userapi.FileReport.Do(t.Context(), b, &userapi.FileReportRequest{Kind: userapi.ReportUser, UserID: "@bad:x", Reporter: "@u0:x"}))
		page := must[*userapi.ReportsResponse](t)(userapi.Reports.Do(t.Context(), b, &userapi.ReportsRequest{Kind: userapi.ReportEvent, Reporter: "@u0:x", Limit: 2}))
		if page.Total != 3 || len(page.Reports) != 2 || page.Reports[0].EventID != "$4" || page.Reports[1].EventID != "$2" {
			t.Errorf("newest first: %+v", page)
		}
		page = must[*userapi.ReportsResponse](t)(userapi.Reports.Do(t.Context(), b, &userapi.ReportsRequest{Oldest: true, From: 5}))
		if page.Total != 6 || len(page.Reports) != 1 || page.Reports[0].Kind != userapi.ReportUser {
			t.Errorf("the last page: %+v", page)
		}
		d := must[*userapi.ReportDetails](t)(userapi.GetReport.Do(t.Context(), b, &userapi.ReportRequest{ID: 1, Kind: userapi.ReportEvent}))
		if !d.Sealed || string(d.Evidence) != `{"event":{"n":0}}` || d.Score == nil || *d.Score != score {
			t.Errorf("%+v", d)
		}
		if err := s.db.Write(t.Context(), func(tx *store.Tx) error { return tx.Exec(`UPDATE report SET evidence = $1 WHERE id = 1`, []byte(`{}`)) }); err != nil {
			t.Fatal(err)
		}
		if d = must[*userapi.ReportDetails](t)(userapi.GetReport.Do(t.Context(), b, &userapi.ReportRequest{ID: 1})); d.Sealed {
			t.Error("changed evidence counts as sealed")
		}
		if _, err := userapi.GetReport.Do(t.Context(), b, &userapi.ReportRequest{ID: 1, Kind: userapi.ReportUser}); merr.From(err).Status != 404 {
			t.Errorf("a report of another kind: %v", err)
		}
		must[*userapi.Empty](t)(userapi.DeleteReport.Do(t.Context(), b, &userapi.DeleteReportRequest{ID: 1, Actor: "@mod:x"}))
		if _, err := userapi.GetCase.Do(t.Context(), b, &userapi.CaseRequest{ID: 1}); merr.From(err).Status != 404 {
			t.Errorf("the case of the only report: %v", err)
		}
	})
}

func TestHostileReportsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		long := make([]byte, userapi.MaxReason+1)
		for name, r := range map[string]*userapi.FileReportRequest{
			"no target":     {Kind: userapi.ReportEvent, RoomID: "!r", Reporter: "@a:x"},
			"unknown kind":  {Kind: "x", RoomID: "!r", Reporter: "@a:x"},
			"long reason":   {Kind: userapi.ReportRoom, RoomID: "!r", Reporter: "@a:x", Reason: string(long)},
			"NUL":           {Kind: userapi.ReportRoom, RoomID: "!r", Reporter: "@a:x", Reason: "a\x00b"},
			"much evidence": {Kind: userapi.ReportRoom, RoomID: "!r", Reporter: "@a:x", Evidence: make([]byte, userapi.MaxEvidence+1)},
		} {
			if _, err := s.fileReport(t.Context(), r); merr.From(err).Status/100 != 4 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestTheAuditLogShowsTampering(t *testing.T) {
	each(t, func(t *testing.T, s *Server, b *bus.Bus) {
		const n = verifyStep + 20
		for i := range n {
			if _, err := userapi.RecordAction.Do(t.Context(), b, &userapi.AuditEntry{
				Actor: "@admin:x", Action: "user.lock", Target: fmt.Sprintf("@u%d:x", i), Reason: "r", After: json.RawMessage(`{"locked":true}`),
			}); err != nil {
				t.Fatal(err)
			}
		}
		verify := func() *userapi.AuditVerdict {
			t.Helper()
			return must[*userapi.AuditVerdict](t)(userapi.VerifyAudit.Do(t.Context(), b, &userapi.Empty{}))
		}
		if v := verify(); v.Entries != n || v.Broken != 0 {
			t.Fatalf("%+v", v)
		}
		page := must[*userapi.AuditResponse](t)(userapi.AuditLog.Do(t.Context(), b, &userapi.AuditRequest{After: 10, Limit: 3}))
		if len(page.Entries) != 3 || !page.More || page.Entries[0].Seq != 11 || page.Entries[1].Previous != page.Entries[0].Hash {
			t.Errorf("%+v", page)
		}
		if page = must[*userapi.AuditResponse](t)(userapi.AuditLog.Do(t.Context(), b, &userapi.AuditRequest{Target: "@u3:x"})); len(page.Entries) != 1 {
			t.Errorf("by target: %+v", page)
		}
		for name, sql := range map[string]string{
			"changed": `UPDATE audit SET reason = 'other' WHERE seq = 7`,
			"removed": `DELETE FROM audit WHERE seq = 7`,
		} {
			if err := s.db.Write(t.Context(), func(tx *store.Tx) error { return tx.Exec(sql) }); err != nil {
				t.Fatal(err)
			}
			if v := verify(); v.Broken != 7 {
				t.Errorf("an entry was %s: %+v", name, v)
			}
		}
		if _, err := userapi.RecordAction.Do(t.Context(), b, &userapi.AuditEntry{Actor: "@a:x"}); !errors.Is(err, merr.InvalidParam("")) {
			t.Errorf("an entry without an action: %v", err)
		}
	})
}
