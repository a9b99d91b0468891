package storage

import (
	"strconv"
	"strings"
)

// inSizes are the lengths of IN lists. A list is padded to the next length by
// repeating its last number, so that few different statements are prepared.
var inSizes = [...]int{1, 4, 16, 64, 256}

const inMax = 256

// inChunks calls f for parts of a list with a list "$1,$2,…" and its arguments.
func inChunks[T int64 | string | []byte](values []T, f func(list string, args []any) error) error {
	for len(values) > 0 {
		n := min(len(values), inMax)
		size := inMax
		for _, s := range inSizes {
			if n <= s {
				size = s
				break
			}
		}
		args := make([]any, size)
		for i := range args {
			args[i] = values[min(i, n-1)]
		}
		if err := f(inLists[size], args); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// inLists holds the texts of the lists; it is never written after initialisation.
var inLists = func() map[int]string {
	lists := make(map[int]string, len(inSizes))
	for _, size := range inSizes {
		var b strings.Builder
		for i := 1; i <= size; i++ {
			if i > 1 {
				b.WriteByte(',')
			}
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i))
		}
		lists[size] = b.String()
	}
	return lists
}()
