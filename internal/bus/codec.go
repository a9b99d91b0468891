package bus

import (
	"encoding/json"
	"fmt"
	"sync"
)

// wireCodec is what a type's pointer implements to have its own encoding.
type wireCodec interface {
	AppendWire([]byte) []byte
	ParseWire([]byte) error
}

func appendValue[T any](buf []byte, v *T) ([]byte, error) {
	if c, ok := any(v).(wireCodec); ok {
		return c.AppendWire(buf), nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return buf, fmt.Errorf("encode %T: %w", v, err)
	}
	return append(buf, data...), nil
}

// parseValue turns a panic of a codec into an error: the bytes come from another
// process, which may run another version.
func parseValue[T any](data []byte) (v *T, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("decode %T: panic: %v", v, p)
		}
	}()
	v = new(T)
	if c, ok := any(v).(wireCodec); ok {
		err = c.ParseWire(data)
	} else {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %T: %w", v, err)
	}
	return v, nil
}

// buffer is a reusable buffer for an outgoing message: NATS copies what it sends.
type buffer struct {
	b    []byte
	pool *sync.Pool
}

// keepBuffer is the greatest buffer that is kept for reuse, in bytes.
const keepBuffer = 64 << 10

func (b *Bus) buffer() *buffer {
	if buf, ok := b.buffers.Get().(*buffer); ok {
		return buf
	}
	return &buffer{b: make([]byte, 0, 1024), pool: &b.buffers}
}

func (b *buffer) release() {
	if cap(b.b) <= keepBuffer {
		b.b = b.b[:0]
		b.pool.Put(b)
	}
}
