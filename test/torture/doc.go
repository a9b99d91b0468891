// Package torture takes from the server what a machine takes away: space on the disk, what
// was written and not synced when the power failed, the right time, idle connections.
//
// Each test has a short form that runs with all other tests. `make torture MINUTES=n` runs
// the long form, which repeats with new seeds until the time is up.
package torture
