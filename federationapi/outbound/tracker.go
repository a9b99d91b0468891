package outbound

// tracker knows which positions of the room log have been delivered to all the servers that
// they go to, or whose servers have a row. Positions are without gaps.
type tracker struct {
	first  int64 // position of counts[0]
	counts []int32
	popped int // of counts, which are done
}

// start begins after a position.
func (t *tracker) start(after int64) { *t = tracker{first: after + 1} }

// handed is the last position that was added.
func (t *tracker) handed() int64 { return t.first + int64(len(t.counts)) - 1 }

// add adds the next position, which n servers must get.
func (t *tracker) add(n int32) { t.counts = append(t.counts, n) }

// release says that a server has got the event at a position.
func (t *tracker) release(pos int64) {
	if i := pos - t.first; i >= 0 && i < int64(len(t.counts)) && t.counts[i] > 0 {
		t.counts[i]--
	}
}

// low is the last position up to which all is delivered.
func (t *tracker) low() int64 {
	for t.popped < len(t.counts) && t.counts[t.popped] == 0 {
		t.popped++
	}
	low := t.first + int64(t.popped) - 1
	if t.popped > 1024 && t.popped > len(t.counts)/2 {
		t.counts = append([]int32(nil), t.counts[t.popped:]...)
		t.first += int64(t.popped)
		t.popped = 0
	}
	return low
}

// open counts the positions after low.
func (t *tracker) open() int { return len(t.counts) - t.popped }
