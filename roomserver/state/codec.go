package state

import "encoding/binary"

// A delta is: the number of entries, then blocks of blockSize entries (the last
// may be shorter). A block is its length in bytes, its first entry in full, and
// the others each relative to the one before: a token, which is twice the
// distance of the state keys, or 1 followed by the distance of the types and the
// state key in full; then the distance of the event numbers. Blocks let a reader
// of one key skip the rest.
const blockSize = 64

// maxDistance is the largest distance of state keys that a token holds.
const maxDistance = 1<<62 - 1

// encode returns the delta of sorted entries with distinct keys.
func encode(entries []Entry) []byte {
	out := binary.AppendUvarint(make([]byte, 0, 8+4*len(entries)), uint64(len(entries)))
	var block []byte
	for len(entries) > 0 {
		n := min(blockSize, len(entries))
		block = appendBlock(block[:0], entries[:n])
		out = binary.AppendUvarint(out, uint64(len(block)))
		out = append(out, block...)
		entries = entries[n:]
	}
	return out
}

func appendBlock(dst []byte, entries []Entry) []byte {
	last := entries[0]
	dst = binary.AppendVarint(dst, last.Type)
	dst = binary.AppendVarint(dst, last.StateKey)
	dst = binary.AppendVarint(dst, last.Event)
	for _, e := range entries[1:] {
		distance := uint64(e.StateKey) - uint64(last.StateKey)
		if e.Type == last.Type && distance <= maxDistance {
			dst = binary.AppendUvarint(dst, distance<<1)
		} else {
			dst = append(dst, 1)
			dst = binary.AppendUvarint(dst, uint64(e.Type)-uint64(last.Type))
			dst = binary.AppendVarint(dst, e.StateKey)
		}
		dst = binary.AppendVarint(dst, e.Event-last.Event)
		last = e
	}
	return dst
}

// cursor reads a delta. Any input is safe: keys must ascend, lengths must fit, and
// the first fault ends the walk with ok false and bad true.
type cursor struct {
	buf     []byte // from the next block on
	left    int    // entries in buf
	block   []byte // rest of the current block
	inBlock int    // entries in block
	cur     Entry  // valid after next returned true
	started bool
	bad     bool
}

// open returns a cursor before the first entry.
func open(delta []byte) cursor {
	n, k := binary.Uvarint(delta)
	// An entry takes at least two bytes.
	if k <= 0 || n > uint64(len(delta))/2 || n == 0 && k != len(delta) {
		return cursor{bad: true}
	}
	return cursor{buf: delta[k:], left: int(n)}
}

func (c *cursor) fail() bool {
	*c = cursor{bad: true}
	return false
}

// next moves to the next entry.
func (c *cursor) next() bool {
	if c.inBlock == 0 {
		return c.nextBlock()
	}
	e := c.cur
	token, ok := c.uvarint()
	if !ok {
		return c.fail()
	}
	switch {
	case token == 1:
		distance, ok := c.uvarint()
		if !ok {
			return c.fail()
		}
		e.Type = int64(uint64(e.Type) + distance)
		if e.StateKey, ok = c.varint(); !ok {
			return c.fail()
		}
	case token&1 == 0:
		e.StateKey = int64(uint64(e.StateKey) + token>>1)
	default:
		return c.fail()
	}
	event, ok := c.varint()
	if !ok || e.Key.Compare(c.cur.Key) <= 0 {
		return c.fail()
	}
	e.Event += event
	c.cur = e
	c.inBlock--
	if c.inBlock == 0 && len(c.block) != 0 {
		return c.fail()
	}
	return true
}

// nextBlock moves to the first entry of the next block.
func (c *cursor) nextBlock() bool {
	if c.left == 0 {
		if len(c.buf) != 0 {
			return c.fail()
		}
		return false
	}
	size, k := binary.Uvarint(c.buf)
	if k <= 0 || size > uint64(len(c.buf)-k) {
		return c.fail()
	}
	c.block, c.buf = c.buf[k:k+int(size)], c.buf[k+int(size):]
	c.inBlock = min(blockSize, c.left) - 1
	c.left -= c.inBlock + 1
	var e Entry
	var ok1, ok2, ok3 bool
	e.Type, ok1 = c.varint()
	e.StateKey, ok2 = c.varint()
	e.Event, ok3 = c.varint()
	if !ok1 || !ok2 || !ok3 || c.started && e.Key.Compare(c.cur.Key) <= 0 || c.inBlock == 0 && len(c.block) != 0 {
		return c.fail()
	}
	c.cur, c.started = e, true
	return true
}

// seek moves to the first entry with a key not below key. The cursor must stand
// on an entry; it never moves back. It is false when there is no such entry.
func (c *cursor) seek(key Key) bool {
	if c.cur.Key.Compare(key) >= 0 {
		return true
	}
	for c.left > 0 {
		first, ok := c.peekBlock()
		if !ok {
			return c.fail()
		}
		if first.Compare(key) > 0 {
			break
		}
		if c.inBlock, c.block = 0, nil; !c.nextBlock() {
			return false
		}
	}
	for c.cur.Key.Compare(key) < 0 {
		if !c.next() {
			return false
		}
	}
	return true
}

// peekBlock returns the first key of the next block.
func (c *cursor) peekBlock() (key Key, ok bool) {
	b := c.buf
	_, k := binary.Uvarint(b)
	if k <= 0 {
		return key, false
	}
	b = b[k:]
	if key.Type, k = binary.Varint(b); k <= 0 {
		return key, false
	}
	key.StateKey, k = binary.Varint(b[k:])
	return key, k > 0
}

func (c *cursor) uvarint() (uint64, bool) {
	if len(c.block) > 0 && c.block[0] < 0x80 {
		v := uint64(c.block[0])
		c.block = c.block[1:]
		return v, true
	}
	v, k := binary.Uvarint(c.block)
	if k <= 0 {
		return 0, false
	}
	c.block = c.block[k:]
	return v, true
}

func (c *cursor) varint() (int64, bool) {
	u, ok := c.uvarint()
	return int64(u>>1) ^ -int64(u&1), ok
}

// decode returns all entries of a delta.
func decode(delta []byte) ([]Entry, error) {
	c := open(delta)
	out := make([]Entry, 0, c.left)
	for c.next() {
		out = append(out, c.cur)
	}
	if c.bad {
		return nil, ErrDamaged
	}
	return out, nil
}
