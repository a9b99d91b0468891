// Package moderation keeps the reports of users, the rules of the server and the audit log. It
// answers the calls of userapi/moderation.go and userapi/policy.go that begin with "moderation".
//
// A report belongs to a case: what is reported. Several users who report the same event add to
// one case as long as it is not closed. What the reporter could see is stored with the report,
// so that a redaction or a retention policy does not destroy it.
//
// The audit log is a chain: the hash of an entry covers the one before. Every change here that
// somebody makes is written in the same transaction as its entry.
package moderation

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Deps is what the package needs.
type Deps struct {
	Bus                  *bus.Bus
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time
}

// Server keeps reports and the audit log.
type Server struct {
	bus *bus.Bus
	db  *store.DB
	now func() time.Time
}

// New opens the database and registers the calls.
func New(ctx context.Context, d Deps) (*Server, error) {
	db, err := store.Open(ctx, store.Options{
		Component: "moderation", Migrations: migrations, Policy: store.Independent, Readers: 2,
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{bus: d.Bus, db: db, now: d.Now}
	for _, err := range []error{
		bus.Handle(d.Bus, userapi.FileReport, s.fileReport),
		bus.Handle(d.Bus, userapi.Cases, s.cases),
		bus.Handle(d.Bus, userapi.GetCase, s.getCase),
		bus.Handle(d.Bus, userapi.UpdateCase, s.updateCase),
		bus.Handle(d.Bus, userapi.Reports, s.reports),
		bus.Handle(d.Bus, userapi.GetReport, s.getReport),
		bus.Handle(d.Bus, userapi.DeleteReport, s.deleteReport),
		bus.Handle(d.Bus, userapi.RecordAction, s.recordAction),
		bus.Handle(d.Bus, userapi.AuditLog, s.auditLog),
		bus.Handle(d.Bus, userapi.VerifyAudit, s.verifyAudit),
		bus.Handle(d.Bus, userapi.ListRules, s.listRules),
		bus.Handle(d.Bus, userapi.SetRule, s.setRule),
		bus.Handle(d.Bus, userapi.DeleteRule, s.deleteRule),
		bus.Handle(d.Bus, userapi.PolicyLists, s.policyLists),
		bus.Handle(d.Bus, userapi.SetPolicyList, s.setPolicyList),
		bus.Handle(d.Bus, userapi.DeletePolicyList, s.deletePolicyList),
	} {
		if err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("register calls: %w", err)
		}
	}
	return s, nil
}

// Close commits what is queued and releases the database.
func (s *Server) Close() error { return s.db.Close() }

// Lost is closed when another process took the database over.
func (s *Server) Lost() <-chan struct{} { return s.db.Lost() }
