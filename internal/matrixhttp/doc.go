// Package matrixhttp is the HTTP side of every Matrix API of this server: a table
// of routes with exact paths, bounded and strictly checked request bodies, one
// place that writes answers and errors, one log line and one metric a request.
//
// A request passes these steps:
//
//	count it (or 503) → find the route (or 404, 405) → authenticate → handler →
//	write the answer → log line, metrics
//
// The body is read by the handler, through [Decode] or the methods of [Request],
// and never before the request has been authenticated.
package matrixhttp
