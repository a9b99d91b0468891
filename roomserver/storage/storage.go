// Package storage holds the roomserver's tables: rooms, events, state snapshots,
// members, receipts, aliases. Only the roomserver writes here.
//
// A change of a room is one Append, written in one transaction. Its event numbers
// are log positions, which the caller reserves when it stages the Append; the
// event table therefore is the room log.
package storage

import (
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math"

	"hearth/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the schema's files.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// ErrNotFound says that the row asked for is not there.
var ErrNotFound = store.ErrNoRows

// OrdShift is the number of bits by which a live event's position is shifted to
// make its order: between two live events there is room for 2^20 others that come
// to light later.
const OrdShift = 20

// LiveOrd is the order of the live event at log position pos.
func LiveOrd(pos int64) int64 { return pos << OrdShift }

// OrdAfter is the order of the place after everything up to log position pos.
func OrdAfter(pos int64) int64 { return pos<<OrdShift | (1<<OrdShift - 1) }

// OutlierOrd is the order of events that have no place in the timeline.
const OutlierOrd = math.MinInt64

// Flags of an event.
const (
	FlagRejected   = 1 << iota // failed authorization; never in state, never shown
	FlagSoftFailed             // failed against the current state; not shown
	FlagOutlier                // its state is unknown; nid < 0, ord is OutlierOrd
	FlagFederate               // goes to other servers
	FlagReset                  // the room's state was given by another server just before it
	FlagAside                  // is no forward extremity, because there were too many
	FlagPromoted               // was an outlier and then became live: nid < 0, and the log table has its position
	FlagForked                 // it changed the room's state by more than itself
	FlagPurged                 // its content is gone: what is stored is the redacted form
)

// HiddenFlags are those whose events no client sees.
const HiddenFlags = FlagRejected | FlagSoftFailed | FlagOutlier

// Membership numbers, ordered by how they count in room summaries.
const (
	MembershipLeave  = 0
	MembershipJoin   = 1
	MembershipInvite = 2
	MembershipKnock  = 3
	MembershipBan    = 4
)

var membershipNames = [...]string{"leave", "join", "invite", "knock", "ban"}

// MembershipName is the spec's word for a membership number.
func MembershipName(n int64) string {
	if n < 0 || int(n) >= len(membershipNames) {
		return "leave"
	}
	return membershipNames[n]
}

// MembershipNumber is the number for the spec's word; anything unknown is leave.
func MembershipNumber(name string) int64 {
	for i, s := range membershipNames {
		if s == name {
			return int64(i)
		}
	}
	return MembershipLeave
}

// EventKey is the form in which an event id is stored: the 32 bytes of the hash
// for room versions from 3, the text for older ones.
func EventKey(id string) []byte {
	if len(id) == 44 && id[0] == '$' {
		raw := make([]byte, 0, 32)
		raw, err := base64.RawURLEncoding.AppendDecode(raw, []byte(id[1:]))
		if err == nil && len(raw) == 32 {
			return raw
		}
		// Room version 3 uses the other base64 alphabet.
		if raw, err = base64.RawStdEncoding.DecodeString(id[1:]); err == nil && len(raw) == 32 {
			return raw
		}
	}
	return []byte(id)
}

// EventID is the id whose stored form is key. urlSafe is false for room version 3 only.
func EventID(key []byte, urlSafe bool) string {
	if len(key) != 32 || key[0] == '$' && isText(key) {
		return string(key)
	}
	if urlSafe {
		return "$" + base64.RawURLEncoding.EncodeToString(key)
	}
	return "$" + base64.RawStdEncoding.EncodeToString(key)
}

// isText tells a 32-byte event id of room versions 1 and 2, which is printable
// and holds a colon, from a hash. A hash that looks like that has probability < 2^-40
// and cannot be aimed at.
func isText(key []byte) bool {
	colon := false
	for _, c := range key {
		if c < 0x21 || c > 0x7e {
			return false
		}
		colon = colon || c == ':'
	}
	return colon
}

// Store is the roomserver's database.
type Store struct {
	DB *store.DB
}

// read runs f on one consistent snapshot.
func (s *Store) read(ctx context.Context, what string, f func(r *store.Reader) error) error {
	if err := s.DB.Read(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// row reads one row with one statement.
func (s *Store) row(ctx context.Context, what, sql string, args []any, dst ...any) error {
	if err := s.DB.Row(ctx, sql, args...).Scan(dst...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func packInts(dst []byte, ints []int64) []byte {
	dst = appendVarint(dst, int64(len(ints)))
	for _, n := range ints {
		dst = appendVarint(dst, n)
	}
	return dst
}
