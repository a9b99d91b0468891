package search

import (
	"cmp"
	"slices"

	"hearth/internal/bus"
)

// Sizes of blocks: level 1, 2, 3.
const (
	fanout   = 8
	levels   = 3
	tailSize = 64 // documents; also of a block of level 1
)

// The part of a row says what it holds: docsPart, or a part of the terms of a block,
// numbered so that the number tells the level: 1 | 4 … 7 | 16 … 31.
const docsPart = 0

// partOf is the part in which a block of a level keeps a term.
func partOf(level int, term uint32) int64 {
	n := int64(1) << (2 * (level - 1))
	return n + int64(term)&(n-1)
}

// levelOf is the level that a part of terms belongs to.
func levelOf(part int64) int {
	switch {
	case part >= 16:
		return 3
	case part >= 4:
		return 2
	}
	return 1
}

// block is a block in memory.
type block struct {
	level    int
	low      int64 // its key
	docs     []place
	postings []posting // by term, then document
}

// place is a document in a block.
type place struct {
	pos    int64
	length uint32
}

// row is a block's row; data is empty when there is nothing to keep.
type row struct {
	part int64
	data []byte
}

// blockOf makes a block of the first level.
func blockOf(docs []document) *block {
	b := &block{level: 1, low: docs[0].pos}
	for i := range docs {
		b.docs = append(b.docs, place{docs[i].pos, docs[i].length})
		for _, p := range docs[i].terms {
			b.postings = append(b.postings, posting{p.term, uint32(i), p.n})
		}
	}
	b.sort()
	return b
}

// merge makes one block of several that follow each other.
func merge(blocks []*block) *block {
	b := &block{level: blocks[0].level + 1, low: blocks[0].low}
	for _, part := range blocks {
		first := uint32(len(b.docs))
		b.docs = append(b.docs, part.docs...)
		for _, p := range part.postings {
			b.postings = append(b.postings, posting{p.term, p.doc + first, p.n})
		}
	}
	b.sort()
	return b
}

func (b *block) sort() {
	slices.SortFunc(b.postings, func(x, y posting) int {
		return cmp.Or(cmp.Compare(x.term, y.term), cmp.Compare(x.doc, y.doc))
	})
}

// remove takes documents out; it reports whether there were any of them.
func (b *block) remove(gone map[int64]bool) bool {
	number := make([]int, len(b.docs))
	kept := 0
	for i, d := range b.docs {
		if number[i] = kept; gone[d.pos] {
			number[i] = -1
			continue
		}
		b.docs[kept] = d
		kept++
	}
	if kept == len(b.docs) {
		return false
	}
	b.docs = b.docs[:kept]
	postings := b.postings[:0]
	for _, p := range b.postings {
		if int(p.doc) < len(number) && number[p.doc] >= 0 {
			postings = append(postings, posting{p.term, uint32(number[p.doc]), p.n})
		}
	}
	b.postings = postings
	return true
}

// rows encodes the block.
func (b *block) rows() []row {
	n := int64(1) << (2 * (b.level - 1))
	parts := make([]*partWriter, n)
	for i := range parts {
		parts[i] = &partWriter{}
	}
	for i := 0; i < len(b.postings); {
		end := i + 1
		for end < len(b.postings) && b.postings[end].term == b.postings[i].term {
			end++
		}
		parts[int64(b.postings[i].term)&(n-1)].add(b.postings[i:end])
		i = end
	}
	rows := make([]row, 0, n+1)
	rows = append(rows, row{docsPart, b.places()})
	for i, p := range parts {
		rows = append(rows, row{n + int64(i), p.buf})
	}
	return rows
}

func (b *block) places() []byte {
	if len(b.docs) == 0 {
		return nil
	}
	enc := bus.NewEncoder(nil)
	last := int64(0)
	for _, d := range b.docs {
		enc.Uint(uint64(d.pos - last))
		enc.Uint(uint64(d.length))
		last = d.pos
	}
	return enc.Buffer()
}

func readPlaces(dst []place, b []byte) ([]place, error) {
	dec := bus.NewDecoder(b)
	pos := int64(0)
	for dec.Len() > 0 && dec.Err() == nil {
		pos += int64(dec.Uint())
		dst = append(dst, place{pos, uint32(dec.Uint())})
	}
	return dst, dec.Err()
}

// partWriter encodes terms in rising order, each with its length in bytes, so that a
// reader can step over it.
type partWriter struct {
	buf     []byte
	last    uint32
	scratch []byte
}

func (w *partWriter) add(list []posting) {
	enc := bus.NewEncoder(w.scratch[:0])
	doc := uint32(0)
	for _, p := range list {
		appendCounted(&enc, p.doc-doc, p.n)
		doc = p.doc
	}
	w.scratch = enc.Buffer()
	out := bus.NewEncoder(w.buf)
	out.Uint(uint64(list[0].term - w.last))
	out.Bytes(w.scratch)
	w.buf, w.last = out.Buffer(), list[0].term
}

// find calls f for each document of a part that holds the term.
func find(part []byte, term uint32, f func(doc, n uint32)) error {
	dec := bus.NewDecoder(part)
	at := uint32(0)
	for dec.Len() > 0 && dec.Err() == nil {
		at += uint32(dec.Uint())
		list := dec.Bytes()
		if at < term {
			continue
		}
		if at > term {
			break
		}
		return eachPosting(list, f)
	}
	return dec.Err()
}

func eachPosting(list []byte, f func(doc, n uint32)) error {
	dec := bus.NewDecoder(list)
	doc := uint32(0)
	for dec.Len() > 0 && dec.Err() == nil {
		delta, n := readCounted(&dec)
		doc += delta
		f(doc, n)
	}
	return dec.Err()
}

// readBlock decodes all rows of a block.
func readBlock(low int64, rows []row) (*block, error) {
	b := &block{low: low, level: 1}
	for _, r := range rows {
		if r.part == docsPart {
			var err error
			if b.docs, err = readPlaces(nil, r.data); err != nil {
				return nil, err
			}
			continue
		}
		b.level = levelOf(r.part)
		dec := bus.NewDecoder(r.data)
		term := uint32(0)
		for dec.Len() > 0 && dec.Err() == nil {
			term += uint32(dec.Uint())
			if err := eachPosting(dec.Bytes(), func(doc, n uint32) { b.postings = append(b.postings, posting{term, doc, n}) }); err != nil {
				return nil, err
			}
		}
		if dec.Err() != nil {
			return nil, dec.Err()
		}
	}
	b.sort()
	return b, nil
}
