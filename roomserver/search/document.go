package search

import (
	"cmp"
	"slices"

	"hearth/internal/bus"
)

// maxTerms bounds the different terms of a document: an event of 64 KiB may hold
// tens of thousands, which nobody looks for.
const maxTerms = 4096

// posting says how often a document holds a term.
type posting struct {
	term uint32
	doc  uint32 // number of the document in its block
	n    uint32
}

// document is one event as the index sees it.
type document struct {
	pos    int64 // in the room log
	length uint32
	terms  []posting // by term; doc is not set
}

// index works out the terms of a text by a sender.
func index(pos int64, sender string, kind Kinds, texts []string) document {
	counts := make(map[uint32]uint32)
	d := document{pos: pos}
	add := func(s string) {
		h := hash("", s)
		if n := counts[h]; n > 0 || len(counts) < maxTerms {
			counts[h] = n + 1
		}
	}
	for _, text := range texts {
		split(text, func(w string) { add(w); d.length++ }, func(run string) {
			for _, r := range run {
				add(string(r))
				d.length++
			}
			pairs(run, add)
		})
	}
	counts[hash(senderPrefix, sender)] = 1
	switch kind {
	case Name:
		counts[hash(namePrefix, "")] = 1
	case Topic:
		counts[hash(topicPrefix, "")] = 1
	}
	d.terms = make([]posting, 0, len(counts))
	for h, n := range counts {
		d.terms = append(d.terms, posting{term: h, n: n})
	}
	slices.SortFunc(d.terms, func(a, b posting) int { return cmp.Compare(a.term, b.term) })
	return d
}

// count returns how often the document holds a term.
func (d *document) count(term uint32) uint32 {
	i, ok := slices.BinarySearchFunc(d.terms, term, func(p posting, t uint32) int { return cmp.Compare(p.term, t) })
	if !ok {
		return 0
	}
	return d.terms[i].n
}

// appendDocument writes a document after the one at position before.
func appendDocument(dst []byte, d *document, before int64) []byte {
	enc := bus.NewEncoder(dst)
	enc.Uint(uint64(d.pos - before))
	enc.Uint(uint64(d.length))
	enc.Uint(uint64(len(d.terms)))
	last := uint32(0)
	for _, p := range d.terms {
		appendCounted(&enc, p.term-last, p.n)
		last = p.term
	}
	return enc.Buffer()
}

// readDocuments reads what appendDocument wrote.
func readDocuments(b []byte) ([]document, error) {
	dec := bus.NewDecoder(b)
	var docs []document
	pos := int64(0)
	for dec.Len() > 0 && dec.Err() == nil {
		d := document{pos: pos + int64(dec.Uint()), length: uint32(dec.Uint())}
		d.terms = make([]posting, dec.Count())
		last := uint32(0)
		for i := range d.terms {
			delta, n := readCounted(&dec)
			last += delta
			d.terms[i] = posting{term: last, n: n}
		}
		pos = d.pos
		docs = append(docs, d)
	}
	return docs, dec.Err()
}

// appendCounted writes a number with a count that is nearly always 1.
func appendCounted(enc *bus.Encoder, n, count uint32) {
	if count == 1 {
		enc.Uint(uint64(n) << 1)
		return
	}
	enc.Uint(uint64(n)<<1 | 1)
	enc.Uint(uint64(count))
}

func readCounted(dec *bus.Decoder) (n, count uint32) {
	v := dec.Uint()
	if v&1 == 0 {
		return uint32(v >> 1), 1
	}
	return uint32(v >> 1), uint32(dec.Uint())
}
