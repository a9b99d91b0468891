package search

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxQueryTerms bounds the terms that are looked up; Match compares all of the query.
const maxQueryTerms = 24

// Query is what somebody looks for: every word and every run of characters of it.
type Query struct {
	words, runs []string
	terms       []uint32
}

// ParseQuery splits a search term. A query without words finds nothing.
func ParseQuery(term string) *Query {
	q := &Query{}
	put := func(list *[]string) func(string) {
		return func(s string) {
			if !slices.Contains(*list, s) {
				*list = append(*list, s)
			}
		}
	}
	split(term, put(&q.words), put(&q.runs))
	for _, w := range q.words {
		q.need(w)
	}
	for _, run := range q.runs {
		if utf8.RuneCountInString(run) == 1 {
			q.need(run)
		}
		pairs(run, q.need)
	}
	return q
}

func (q *Query) need(s string) {
	if h := hash("", s); len(q.terms) < maxQueryTerms && !slices.Contains(q.terms, h) {
		q.terms = append(q.terms, h)
	}
}

// Empty reports whether the query holds nothing to look for.
func (q *Query) Empty() bool { return len(q.terms) == 0 }

// Highlights are the words that a client marks in what was found.
func (q *Query) Highlights() []string { return slices.Concat([]string{}, q.words, q.runs) }

// Match reports whether texts hold all that the query asks for.
func (q *Query) Match(texts []string) bool {
	if q.Empty() {
		return false
	}
	words := make(map[string]bool, len(q.words))
	for _, w := range q.words {
		words[w] = false
	}
	missing := len(words)
	runs := make([]bool, len(q.runs))
	for _, text := range texts {
		split(text, func(w string) {
			if seen, wanted := words[w]; wanted && !seen {
				words[w] = true
				missing--
			}
		}, func(run string) {
			for i, wanted := range q.runs {
				runs[i] = runs[i] || strings.Contains(run, wanted)
			}
		})
	}
	return missing == 0 && !slices.Contains(runs, false)
}
