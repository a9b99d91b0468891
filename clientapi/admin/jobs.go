package admin

import (
	"hearth/clientapi/jobs"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// Steps are the kinds of jobs that this package starts.
func (s *Server) Steps() map[string]jobs.Step {
	return map[string]jobs.Step{kindDeleteRoom: s.stepDelete, kindRedactUser: s.stepRedact}
}

// job returns a job of a kind, 404 M_NOT_FOUND if there is none.
func (s *Server) job(r *matrixhttp.Request, id, kind string) (*jobs.Job, error) {
	j, err := s.Jobs().Get(r.Context(), id)
	if err == nil && kind != "" && j.Kind != kind {
		err = merr.NotFound("No such job")
	}
	return j, err
}

// listJobs is GET /_hearth/admin/v1/jobs.
func (s *Server) listJobs(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	list, err := s.Jobs().List(r.Context(), q.String("kind"), q.String("target"), q.String("status"))
	return map[string]any{"jobs": list}, err
}

// getJob is GET /_hearth/admin/v1/jobs/{jobId}.
func (s *Server) getJob(r *matrixhttp.Request) (any, error) { return s.job(r, r.Param("jobId"), "") }

// cancelJob is DELETE /_hearth/admin/v1/jobs/{jobId}. What is done stays done.
func (s *Server) cancelJob(r *matrixhttp.Request) (any, error) {
	j, err := s.job(r, r.Param("jobId"), "")
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "job.cancel", j.ID, "", map[string]string{"kind": j.Kind, "target": j.Target}, nil); err != nil {
		return nil, err
	}
	return s.Jobs().Cancel(r.Context(), j.ID)
}

// scheduledTasks is GET /v1/scheduled_tasks.
func (s *Server) scheduledTasks(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	list, err := s.Jobs().List(r.Context(), q.String("action_name"), q.String("resource_id"), q.String("job_status"))
	if err != nil {
		return nil, err
	}
	tasks := make([]map[string]any, len(list))
	for i, j := range list {
		tasks[i] = map[string]any{
			"id": j.ID, "action": j.Kind, "status": j.Status, "timestamp_ms": j.Updated, "resource_id": j.Target,
			"result": j.Progress, "error": orNull(j.Error),
		}
	}
	return map[string]any{"scheduled_tasks": tasks}, nil
}
