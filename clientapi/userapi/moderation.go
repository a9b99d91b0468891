package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Moderation: what an account may do, reports of users, and the record of what those who
// run the server did.
var (
	// Restrict changes what an account may do, and returns it. 404 M_NOT_FOUND also for a
	// deactivated account.
	Restrict = bus.Call[RestrictRequest, Restricted]{Subject: "userstore.restrict"}

	// FileReport puts a report into the queue. Reports of the same thing share a case.
	FileReport = bus.Call[FileReportRequest, FileReportResponse]{Subject: "moderation.report.file"}
	// Cases lists the queue, a page at a time.
	Cases = bus.Call[CasesRequest, CasesResponse]{Subject: "moderation.cases"}
	// GetCase returns a case with its reports and notes, 404 M_NOT_FOUND if there is none.
	GetCase = bus.Call[CaseRequest, CaseDetails]{Subject: "moderation.case"}
	// UpdateCase assigns, resolves, dismisses or reopens a case, or adds a note. It is recorded.
	UpdateCase = bus.Call[UpdateCaseRequest, CaseDetails]{Subject: "moderation.case.update"}
	// Reports lists single reports of a kind, a page at a time, by their numbers.
	Reports = bus.Call[ReportsRequest, ReportsResponse]{Subject: "moderation.reports"}
	// GetReport returns a report with its evidence, 404 M_NOT_FOUND if there is none.
	GetReport = bus.Call[ReportRequest, ReportDetails]{Subject: "moderation.report"}
	// DeleteReport forgets a report; its case goes with the last one. It is recorded.
	DeleteReport = bus.Call[DeleteReportRequest, Empty]{Subject: "moderation.report.delete"}

	// RecordAction adds an entry to the audit log. It must succeed before the action is done.
	RecordAction = bus.Call[AuditEntry, AuditEntry]{Subject: "moderation.audit.record"}
	// AuditLog lists entries, oldest first, a page at a time.
	AuditLog = bus.Call[AuditRequest, AuditResponse]{Subject: "moderation.audit"}
	// VerifyAudit checks the chain of hashes from the first entry to the last.
	VerifyAudit = bus.Call[Empty, AuditVerdict]{Subject: "moderation.audit.verify"}
)

// CasesTopic tells that a case was opened or changed. It may be lost.
var CasesTopic = bus.Topic[Case]{Subject: "moderation.case.changed"}

// RestrictRequest changes an account; nil leaves a restriction as it is.
type RestrictRequest struct {
	UserID                          string
	Locked, Suspended, ShadowBanned *bool
	// Role is what the user may do with the admin API: RoleRead and so on.
	Role *string
}

// Restrictions are what administrators have taken from an account, and what it may do with the
// admin API.
type Restrictions struct {
	// Locked: nothing but log-out works. Suspended: the user may read, leave and redact, but not
	// take part. ShadowBanned: what the user sends seems to work and reaches nobody.
	Locked, Suspended, ShadowBanned bool
	// Role is RoleAdmin for every administrator.
	Role string
}

// Restricted is the account as it is now. Whoever remembers the access tokens must ask again.
type Restricted struct {
	User
	Revoked
}

// Roles in the admin API. Each includes those before it.
const (
	RoleNone     = ""
	RoleRead     = "read"     // see
	RoleModerate = "moderate" // act on users, rooms, media and reports
	RoleAdmin    = "admin"    // everything
)

// Includes reports whether a role includes another one.
func Includes(role, wanted string) bool {
	rank := map[string]int{RoleNone: 0, RoleRead: 1, RoleModerate: 2, RoleAdmin: 3}
	have, ok := rank[role]
	return ok && have >= rank[wanted]
}

// Kinds of reports.
const (
	ReportEvent = "event"
	ReportRoom  = "room"
	ReportUser  = "user"
)

// States of a case.
const (
	CaseOpen      = "open"
	CaseAssigned  = "assigned"
	CaseResolved  = "resolved"
	CaseDismissed = "dismissed"
)

// Limits.
const (
	MaxReason      = 4 << 10 // bytes of a reason, note or outcome
	MaxEvidence    = 512 << 10
	MaxReportsPage = 500
)

// FileReportRequest is a report. RoomID, EventID and UserID say what is reported; UserID is the
// accused where known. Evidence is what the reporter could see, an object: it is sealed by its
// hash. Claims is what the reporter's client says of encrypted events, unchecked.
type FileReportRequest struct {
	Kind, Reporter          string
	RoomID, EventID, UserID string
	Reason                  string
	Score                   *int64
	Evidence                json.RawMessage `json:",omitempty"`
	Claims                  json.RawMessage `json:",omitempty"`
}

// FileReportResponse names the report and its case. Repeated says that the reporter has
// reported the same before, and that nothing was added.
type FileReportResponse struct {
	ReportID, CaseID int64
	Repeated         bool
}

// Case is what reports of one thing are about.
type Case struct {
	ID        int64  `json:"id"`
	Kind      string `json:"kind"`
	RoomID    string `json:"room_id,omitempty"`
	EventID   string `json:"event_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	State     string `json:"state"`
	Assignee  string `json:"assignee,omitempty"`
	Outcome   string `json:"outcome,omitempty"`
	OpenedTS  int64  `json:"opened_ts"`  // milliseconds
	UpdatedTS int64  `json:"updated_ts"` // milliseconds
	Reporters int64  `json:"reporters"`
	// Priority orders the queue: the higher the sooner.
	Priority int64 `json:"priority"`
}

// CasesRequest filters the queue; empty fields take all. Order is by priority, then by age.
type CasesRequest struct {
	State, Kind, Assignee, RoomID, UserID string
	Skip, Limit                           int // Limit 0: 100
}

// CasesResponse is a page. Counts is the number of cases in each state, of all cases.
type CasesResponse struct {
	Cases  []Case           `json:"cases"`
	Total  int64            `json:"total"`
	Counts map[string]int64 `json:"counts"`
}

// CaseRequest names a case.
type CaseRequest struct{ ID int64 }

// CaseDetails is a case with all that belongs to it.
type CaseDetails struct {
	Case
	Reports []Report `json:"reports"`
	Notes   []Note   `json:"notes"`
}

// Note is what a moderator wrote about a case.
type Note struct {
	Author string `json:"author"`
	TS     int64  `json:"ts"` // milliseconds
	Text   string `json:"text"`
}

// UpdateCaseRequest changes a case; empty fields leave it as it is. Outcome is needed for
// resolved. Assignee "-" takes the case from whoever has it.
type UpdateCaseRequest struct {
	ID                               int64
	Actor                            string
	State, Assignee, Outcome, Reason string
	Note                             string
}

// Report is one report.
type Report struct {
	ID       int64  `json:"id"`
	CaseID   int64  `json:"case_id"`
	Kind     string `json:"kind"`
	Reporter string `json:"reporter"`
	RoomID   string `json:"room_id,omitempty"`
	EventID  string `json:"event_id,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	Reason   string `json:"reason"`
	Score    *int64 `json:"score,omitempty"`
	TS       int64  `json:"ts"` // milliseconds
}

// ReportsRequest filters reports by kind, room, reporter and accused, each a part of the text
// where the admin API says so. From counts from the first in the order; Newest first unless Oldest.
type ReportsRequest struct {
	Kind                     string
	RoomID, Reporter, UserID string
	From, Limit              int // Limit 0: 100
	Oldest                   bool
}

// ReportsResponse is a page. Total counts all that fit.
type ReportsResponse struct {
	Reports []Report
	Total   int64
}

// ReportRequest names a report.
type ReportRequest struct {
	Kind string // empty: any
	ID   int64
}

// DeleteReportRequest names a report and who deletes it.
type DeleteReportRequest struct {
	Kind  string // empty: any
	ID    int64
	Actor string
}

// ReportDetails is a report with its evidence. Sealed says that the evidence is what was stored:
// it matches the hash that the audit log holds.
type ReportDetails struct {
	Report
	Evidence json.RawMessage `json:"evidence,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	SHA256   string          `json:"evidence_sha256,omitempty"`
	Sealed   bool            `json:"sealed"`
}

// AuditEntry is what somebody did. Seq, TS, Previous and Hash are set by the log.
type AuditEntry struct {
	Seq    int64  `json:"seq"`
	TS     int64  `json:"ts"`    // milliseconds
	Actor  string `json:"actor"` // a user id, or "server" for what a policy did
	Action string `json:"action"`
	// Target is what it was done to: a user, room, event, media or rule.
	Target string `json:"target"`
	Reason string `json:"reason,omitempty"`
	// Before and After are what changed, as JSON.
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
	Previous string          `json:"previous"` // hash of the entry before, in hexadecimal
	Hash     string          `json:"hash"`
}

// AuditRequest asks for entries after a number. Empty filters take all. Limit 0: 100.
type AuditRequest struct {
	After                 int64
	Actor, Action, Target string
	Limit                 int
}

// AuditResponse is a page.
type AuditResponse struct {
	Entries []AuditEntry `json:"entries"`
	More    bool         `json:"more"`
}

// AuditVerdict says whether the chain holds. Broken is the first entry that does not fit, 0 if
// all do; Head is the hash of the last one: whoever kept an older head can tell whether the log
// was cut.
type AuditVerdict struct {
	Entries int64  `json:"entries"`
	Broken  int64  `json:"broken,omitempty"`
	Head    string `json:"head"`
}
