package roomserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/roomserver/retention"
	"hearth/roomserver/storage"
)

// names is the dictionary of types, state keys and user ids.
//
// A name gets its number in memory, and every Append that uses a number which is
// not yet known to be on disk brings the row along; so a number never depends on
// the fate of another write.
type names struct {
	store *storage.Store

	known  *lru.Cache[string, int64] // on disk
	byNid  *lru.Cache[int64, string]
	mu     sync.Mutex       // guards next and fresh
	next   int64            // the greatest number in use
	fresh  map[string]int64 // numbered, not yet known to be on disk
	freshN map[int64]string
}

// nameCacheBytes bounds each direction of the cache.
const nameCacheBytes = 4 << 20

// nameOverhead is about what a cache entry takes besides its text.
const nameOverhead = 120

func newNames(store *storage.Store, last int64) *names {
	return &names{
		store:  store,
		known:  lru.New(nameCacheBytes, func(s string, _ int64) int { return len(s) + nameOverhead }),
		byNid:  lru.New(nameCacheBytes, func(_ int64, s string) int { return len(s) + nameOverhead }),
		next:   last,
		fresh:  make(map[string]int64),
		freshN: make(map[int64]string),
	}
}

// storable reports whether a text can be stored: UTF-8 without NUL.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// usual are the types and keys that nearly every room asks for. They have numbers
// from the start, so that looking for one that no room has used costs nothing.
var usual = [...]string{
	"", "m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility",
	"m.room.guest_access", "m.room.name", "m.room.topic", "m.room.avatar", "m.room.canonical_alias", "m.room.encryption",
	"m.room.third_party_invite", "m.room.message", "m.room.redaction",
	retention.Type, retention.UnstableType, policyType,
}

// number gives numbers to the usual names.
func (n *names) number(ctx context.Context) error {
	for _, s := range usual {
		if _, _, err := n.intern(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// lookup returns the number of a name that may not have one.
func (n *names) lookup(ctx context.Context, s string) (nid int64, ok bool, err error) {
	if nid, ok := n.known.Get(s); ok {
		return nid, true, nil
	}
	if !storable(s) {
		return 0, false, nil
	}
	n.mu.Lock()
	nid, ok = n.fresh[s]
	n.mu.Unlock()
	if ok {
		return nid, true, nil
	}
	nid, err = n.store.NameNid(ctx, s)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	n.remember(nid, s)
	return nid, true, nil
}

// intern returns the number of a name and gives it one if it has none. fresh says
// that the write that uses it must bring the row.
func (n *names) intern(ctx context.Context, s string) (nid int64, fresh bool, err error) {
	if nid, ok := n.known.Get(s); ok {
		return nid, false, nil
	}
	if !storable(s) {
		return 0, false, merr.InvalidParam("A name holds a NUL or is not UTF-8")
	}
	nid, ok, err := n.lookup(ctx, s)
	if err != nil {
		return 0, false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if f, isFresh := n.fresh[s]; isFresh {
		return f, true, nil
	}
	if ok {
		return nid, false, nil
	}
	// The row may have been committed since lookup: settled moves it to known first.
	if nid, ok := n.known.Get(s); ok {
		return nid, false, nil
	}
	n.next++
	n.fresh[s], n.freshN[n.next] = n.next, s
	return n.next, true, nil
}

// prefetch brings the numbers of many names into memory with few reads. It changes
// nothing; where memory is too small for all of them, the rest is read one by one.
func (n *names) prefetch(ctx context.Context, texts []string) error {
	var missing []string
	for _, s := range texts {
		if _, ok := n.known.Get(s); !ok && storable(s) {
			missing = append(missing, s)
		}
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) < 2 {
		return nil
	}
	found, err := n.store.NameNids(ctx, missing)
	if err != nil {
		return err
	}
	for s, nid := range found {
		n.remember(nid, s)
	}
	return nil
}

// settled says that the rows are on disk.
func (n *names) settled(rows []storage.Name) {
	for _, row := range rows {
		n.remember(row.Nid, row.S)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, row := range rows {
		delete(n.fresh, row.S)
		delete(n.freshN, row.Nid)
	}
}

func (n *names) remember(nid int64, s string) {
	n.known.Put(s, nid)
	n.byNid.Put(nid, s)
}

// text returns the name with a number.
func (n *names) text(ctx context.Context, nid int64) (string, error) {
	texts, err := n.texts(ctx, []int64{nid})
	if err != nil {
		return "", err
	}
	return texts[nid], nil
}

// texts returns the names with these numbers, all of which must exist.
func (n *names) texts(ctx context.Context, nids []int64) (map[int64]string, error) {
	out := make(map[int64]string, len(nids))
	var missing []int64
	for _, nid := range nids {
		if s, ok := n.byNid.Get(nid); ok {
			out[nid] = s
			continue
		}
		n.mu.Lock()
		s, ok := n.freshN[nid]
		n.mu.Unlock()
		if ok {
			out[nid] = s
			continue
		}
		missing = append(missing, nid)
	}
	if len(missing) == 0 {
		return out, nil
	}
	read, err := n.store.NameTexts(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, nid := range missing {
		s, ok := read[nid]
		if !ok {
			return nil, fmt.Errorf("name %d is not in the dictionary", nid)
		}
		out[nid] = s
		n.remember(nid, s)
	}
	return out, nil
}
