// Package jobs does long work in steps, a few jobs at once. What a step has done is stored
// before the next begins, so that a job goes on after a restart where it was, and can be
// cancelled between two steps. A step may be done twice: it must do no harm then.
package jobs

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// States of a job.
const (
	Scheduled = "scheduled"
	Active    = "active"
	Complete  = "complete"
	Failed    = "failed"
	Cancelled = "cancelled"
)

const (
	workers   = 2                  // jobs at once
	maxOpen   = 1000               // jobs that are not over
	keep      = 7 * 24 * time.Hour // how long a job is known after it was over
	maxTries  = 10                 // of a step whose error may pass
	retry     = 2 * time.Second
	lookAgain = time.Minute
	maxList   = 1000
)

// Job is a piece of work.
type Job struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind"`
	Target   string          `json:"target"` // what it is about: a room id or user id
	Actor    string          `json:"actor"`
	Status   string          `json:"status"`
	Params   json.RawMessage `json:"params"`
	Progress json.RawMessage `json:"progress"`
	Error    string          `json:"error,omitempty"`
	Created  int64           `json:"created_ts"` // milliseconds
	Updated  int64           `json:"updated_ts"` // milliseconds
}

// Step does a part of a job and writes into Progress what is done. done ends the job, and so
// does an error that will not pass.
type Step func(ctx context.Context, j *Job) (done bool, err error)

// Deps is what the package needs.
type Deps struct {
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time
	// Steps are the kinds of jobs.
	Steps map[string]Step
}

// Engine does jobs.
type Engine struct {
	db    *store.DB
	log   *logrus.Entry
	now   func() time.Time
	steps map[string]Step
	bell  chan struct{} // there may be a job to do
}

// New opens the database; Run does the work.
func New(ctx context.Context, d Deps) (*Engine, error) {
	db, err := store.Open(ctx, store.Options{
		Component: "jobs", Migrations: migrations, Policy: store.Independent, Readers: 2,
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	return &Engine{db: db, log: d.Log, now: d.Now, steps: d.Steps, bell: make(chan struct{}, workers)}, nil
}

// Close commits what is queued and releases the database.
func (e *Engine) Close() error { return e.db.Close() }

// Lost is closed when another process took the database over.
func (e *Engine) Lost() <-chan struct{} { return e.db.Lost() }

const (
	columns = `id, kind, target, actor, status, params, progress, error, created, updated`
	insert  = `INSERT INTO job (` + columns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)`
	byID    = `SELECT ` + columns + ` FROM job WHERE id = $1`
	open    = `SELECT COUNT(*) FROM job WHERE status IN ('scheduled', 'active')`
	// A job that is active while nobody works on it was left behind by a process that ended.
	resume = `UPDATE job SET status = 'scheduled' WHERE status = 'active'`
	next   = `SELECT ` + columns + ` FROM job WHERE status = 'scheduled' ORDER BY created, id LIMIT 1`
	save   = `UPDATE job SET status = $2, progress = $3, error = $4, updated = $5 WHERE id = $1`
	forget = `DELETE FROM job WHERE status NOT IN ('scheduled', 'active') AND updated < $1`
	list   = `SELECT ` + columns + ` FROM job WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR target = $2) AND ($3 = '' OR status = $3)
ORDER BY created DESC, id LIMIT $4`
)

func scan(row interface{ Scan(dst ...any) error }) (*Job, error) {
	var j Job
	var params, progress []byte
	err := row.Scan(&j.ID, &j.Kind, &j.Target, &j.Actor, &j.Status, &params, &progress, &j.Error, &j.Created, &j.Updated)
	j.Params, j.Progress = params, progress
	return &j, err
}

// Start queues a job and returns its id: 429 if too many are open.
func (e *Engine) Start(ctx context.Context, kind, target, actor string, params any) (id string, err error) {
	if e.steps[kind] == nil {
		return "", merr.Internal(fmt.Errorf("no such kind of job: %s", kind))
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return "", merr.Internal(err)
	}
	id = rand.Text()
	err = e.db.Write(ctx, func(tx *store.Tx) error {
		var n int
		if err := tx.Row(open).Scan(&n); err != nil {
			return err
		}
		if n >= maxOpen {
			return merr.LimitExceeded(time.Minute)
		}
		return tx.Exec(insert, id, kind, target, actor, Scheduled, raw, []byte("{}"), "", tx.Now().UnixMilli())
	})
	e.ring()
	return id, err
}

func (e *Engine) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// Get returns a job, 404 M_NOT_FOUND if there is none (any more).
func (e *Engine) Get(ctx context.Context, id string) (*Job, error) {
	j, err := scan(e.db.Row(ctx, byID, id))
	return j, notFound(err)
}

// List lists jobs, the newest first; empty strings take all. At most 1,000 are listed.
func (e *Engine) List(ctx context.Context, kind, target, status string) (jobs []*Job, err error) {
	jobs = []*Job{}
	err = e.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(list, kind, target, status, maxList)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			j, err := scan(rows)
			if err != nil {
				return err
			}
			jobs = append(jobs, j)
		}
		return rows.Err()
	})
	return jobs, err
}

// Cancel ends a job before its next step; one that is over stays as it is. 404 if there is none.
func (e *Engine) Cancel(ctx context.Context, id string) (*Job, error) {
	var j *Job
	err := e.db.Write(ctx, func(tx *store.Tx) (err error) {
		if j, err = scan(tx.Row(byID, id)); err != nil {
			return notFound(err)
		}
		if j.Status != Scheduled && j.Status != Active {
			return nil
		}
		j.Status = Cancelled
		return tx.Exec(save, id, j.Status, []byte(j.Progress), j.Error, tx.Now().UnixMilli())
	})
	return j, err
}
