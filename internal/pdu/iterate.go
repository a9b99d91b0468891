package pdu

// iterator walks the members of one object or the elements of one array.
type iterator struct {
	b        []byte
	pos      int
	closing  byte
	first    bool
	complete bool   // the closing bracket was reached and nothing follows it
	key      []byte // canonical text without quotes
	val      []byte
	start    int // where the member starts
}

func iterate(b []byte, open byte) iterator {
	if len(b) < 2 || b[0] != open {
		return iterator{pos: len(b)}
	}
	return iterator{b: b, pos: 1, closing: open + 2, first: true}
}

// next moves to the next member or element. It is false at the end and at input
// that is not canonical JSON.
func (it *iterator) next() bool {
	if it.pos >= len(it.b) {
		return false
	}
	if it.b[it.pos] == it.closing {
		it.complete = it.pos == len(it.b)-1
		it.pos = len(it.b)
		return false
	}
	if !it.first {
		if it.b[it.pos] != ',' {
			return it.stop()
		}
		it.pos++
	}
	it.first = false
	it.start = it.pos
	if it.closing == '}' {
		end := skipString(it.b, it.pos)
		if end < 0 || end >= len(it.b) || it.b[end] != ':' {
			return it.stop()
		}
		it.key = it.b[it.pos+1 : end-1]
		it.pos = end + 1
	}
	end := skipValue(it.b, it.pos)
	if end < 0 {
		return it.stop()
	}
	it.val = it.b[it.pos:end]
	it.pos = end
	return true
}

func (it *iterator) stop() bool {
	it.pos = len(it.b)
	return false
}

// skipString returns the offset after the string that starts at i, or -1.
func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// skipValue returns the offset after the value that starts at i, or -1.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipContainer(b, i)
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func skipContainer(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}
