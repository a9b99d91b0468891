package bus

import "context"

type traceKey struct{}

// maxTrace bounds the trace id that goes over the wire, in bytes. A longer one is cut.
const maxTrace = 128

// WithTrace returns a context that carries the trace id of a request. It travels
// with every call and stream, so that the log lines of all components that worked
// for one request can be found.
func WithTrace(ctx context.Context, id string) context.Context {
	if len(id) > maxTrace {
		id = id[:maxTrace]
	}
	return context.WithValue(ctx, traceKey{}, id)
}

// Trace returns the trace id in ctx, or "".
func Trace(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}
