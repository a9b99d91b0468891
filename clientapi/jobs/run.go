package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/internal/merr"
	"hearth/internal/store"
)

func notFound(err error) error {
	if errors.Is(err, store.ErrNoRows) {
		return merr.NotFound("No such job")
	}
	return err
}

// Run does jobs until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(resume) }); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("jobs: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error { e.work(ctx); return nil })
	}
	return group.Wait()
}

func (e *Engine) work(ctx context.Context) {
	for ctx.Err() == nil {
		j, err := e.take(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			e.log.WithError(err).Warn("jobs cannot be read")
		case j != nil:
			e.do(ctx, j)
			continue
		}
		select {
		case <-ctx.Done():
		case <-e.bell:
		case <-time.After(lookAgain):
			err := e.db.Write(ctx, func(tx *store.Tx) error { return tx.Exec(forget, tx.Now().Add(-keep).UnixMilli()) })
			if err != nil && ctx.Err() == nil {
				e.log.WithError(err).Warn("old jobs are not deleted")
			}
		}
	}
}

// take makes the oldest scheduled job active; nil if there is none.
func (e *Engine) take(ctx context.Context) (j *Job, err error) {
	err = e.db.Write(ctx, func(tx *store.Tx) (err error) {
		j, err = scan(tx.Row(next))
		if errors.Is(err, store.ErrNoRows) {
			j = nil
			return nil
		}
		if err != nil {
			return err
		}
		j.Status = Active
		return tx.Exec(save, j.ID, j.Status, []byte(j.Progress), j.Error, tx.Now().UnixMilli())
	})
	return j, err
}

// do does a job until it is over or ctx ends.
func (e *Engine) do(ctx context.Context, j *Job) {
	log := e.log.WithField("job", j.ID).WithField("kind", j.Kind)
	step := e.steps[j.Kind]
	if step == nil { // of a later version
		e.finish(ctx, j, Failed, "this version does not know the kind of job")
		return
	}
	for tries := 0; ctx.Err() == nil; {
		done, err := step(ctx, j)
		if ctx.Err() != nil {
			return
		}
		switch failure := merr.From(err); {
		case err != nil && (failure.Temporary || failure.Status >= 500) && tries < maxTries:
			tries++
			log.WithError(err).Info("a step of a job is tried again")
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(tries) * retry):
			}
			continue
		case err != nil:
			log.WithError(err).Warn("a job has failed")
			e.finish(ctx, j, Failed, failure.Message)
			return
		case done:
			e.finish(ctx, j, Complete, "")
			return
		}
		tries = 0
		if !e.save(ctx, j) {
			return
		}
	}
}

func (e *Engine) finish(ctx context.Context, j *Job, status, text string) {
	j.Status, j.Error = status, text
	e.save(ctx, j)
}

// save stores a job as it is now; false if it was cancelled or cannot be stored.
func (e *Engine) save(ctx context.Context, j *Job) bool {
	going := false
	err := e.db.Write(ctx, func(tx *store.Tx) error {
		now, err := scan(tx.Row(byID, j.ID))
		if err != nil {
			return err
		}
		status := j.Status
		if going = now.Status == Active; !going {
			status = now.Status
		}
		return tx.Exec(save, j.ID, status, []byte(j.Progress), j.Error, tx.Now().UnixMilli())
	})
	if err != nil && ctx.Err() == nil {
		e.log.WithError(err).WithField("job", j.ID).Warn("a job's progress is not stored")
	}
	return err == nil && going
}
