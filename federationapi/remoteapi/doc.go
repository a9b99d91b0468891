// Package remoteapi is the contract of federationapi with the other components: what
// they ask of other servers, and what is sent to them.
//
// PDUs that come back have passed the gate of package pdu, their content hash (those
// where it does not match are in their redacted form) and the signatures that the spec asks for
// ("Checks performed on receipt of a PDU", 1 to 3). Those that fail are left out and
// counted. Nothing is said of authorization: that is the roomserver's.
//
// Errors are *merr.Error that can be shown to users; Temporary is set if the other server may
// do better later.
package remoteapi
