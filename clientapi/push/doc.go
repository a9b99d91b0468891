// Package push tells push gateways of events (client-server API, "Push
// Notifications"; the Push Gateway API).
//
//	room log ─▶ follow: rules of the users who have pushers ─▶ table notice ─▶ send ─▶ gateway
//
// The cursor in the log is stored in one transaction with what the entries before it
// make to be sent, and that is deleted when the gateway has taken it. So a crash loses
// nothing; it may repeat what was on its way, which gateways know by the event id.
//
// What waits is ids and tweaks, no content: the event is read when it is sent, as its
// user may see it then. A redacted event is not sent.
//
// Bounds: a user has at most maxPushers, a pusher at most maxWaiting notices, of which
// the oldest go first, as do those older than maxAge. A gateway gets perGateway
// requests at a time.
package push

import "time"

const (
	maxPushers = 100
	maxWaiting = 500
	maxAge     = 24 * time.Hour
	perGateway = 32
	inAll      = 128

	requestTimeout = 20 * time.Second
	maxAnswer      = 64 << 10 // bytes
	firstBackOff   = time.Second
	maxBackOff     = 15 * time.Minute
	countTimeout   = 3 * time.Second
)
