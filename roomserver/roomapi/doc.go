// Package roomapi is the contract of the roomserver: what other components may ask
// of it (calls and streams) and what they hear from it (the room log and the
// typing topic). It holds types and names only; the work is in package roomserver.
//
// Every command is idempotent by a key that its request names, so a caller that
// got no answer may send the same request again. Every answer is bounded: calls
// answer in less than 1 MiB, anything larger is a stream.
//
// Positions are those of the room log: one gap-free sequence over all rooms,
// starting at 1, in the order of commits. An event in the timeline has the log
// position under which it was appended. Orders (Event.Ord) are local to a room and
// say where in its timeline an event stands.
package roomapi
