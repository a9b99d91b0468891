package roomapi

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/internal/bus"
)

// A frame of a State or Window stream: a kind, a length and a payload. Frames are
// packed into chunks and never cross from one chunk into the next.
const (
	frameInfo     = 1 // WindowInfo as JSON
	frameTimeline = 2 // Event
	frameState    = 3 // Event
)

// chunkSize is the number of bytes after which a chunk is sent.
const chunkSize = 64 << 10

// FrameWriter packs frames into chunks; the roomserver's side of a stream.
type FrameWriter struct {
	send  func([]byte) error
	buf   []byte
	event []byte // scratch
}

// NewFrameWriter returns a writer that sends chunks with send.
func NewFrameWriter(send func([]byte) error) *FrameWriter { return &FrameWriter{send: send} }

// Info writes the WindowInfo frame.
func (w *FrameWriter) Info(info *WindowInfo) error {
	body, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode window info: %w", err)
	}
	return w.frame(frameInfo, body)
}

// Timeline writes an event of the timeline.
func (w *FrameWriter) Timeline(e *Event) error { return w.events(frameTimeline, e) }

// State writes an event of the state.
func (w *FrameWriter) State(e *Event) error { return w.events(frameState, e) }

// Flush sends what is left.
func (w *FrameWriter) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *FrameWriter) events(kind byte, e *Event) error {
	w.event = e.AppendWire(w.event[:0])
	return w.frame(kind, w.event)
}

func (w *FrameWriter) frame(kind byte, payload []byte) error {
	enc := bus.NewEncoder(w.buf)
	enc.Uint(uint64(kind))
	enc.Bytes(payload)
	w.buf = enc.Buffer()
	if len(w.buf) < chunkSize {
		return nil
	}
	return w.Flush()
}

// ReadEvents reads a State stream and hands each event to f.
func ReadEvents(ctx context.Context, b *bus.Bus, req *StateRequest, f func(*Event) error) error {
	return StateStream.Do(ctx, b, req, func(chunk []byte) error {
		return readFrames(chunk, func(kind uint64, payload []byte) error {
			if kind != frameState {
				return nil
			}
			e := new(Event)
			if err := e.ParseWire(payload); err != nil {
				return err
			}
			return f(e)
		})
	})
}

// ReadWindow reads a Window stream whole.
func ReadWindow(ctx context.Context, b *bus.Bus, req *WindowRequest) (*Window, error) {
	w := new(Window)
	err := WindowStream.Do(ctx, b, req, func(chunk []byte) error {
		return readFrames(chunk, func(kind uint64, payload []byte) error {
			if kind == frameInfo {
				return json.Unmarshal(payload, &w.WindowInfo)
			}
			e := new(Event)
			if err := e.ParseWire(payload); err != nil {
				return err
			}
			switch kind {
			case frameTimeline:
				w.Timeline = append(w.Timeline, e)
			case frameState:
				w.State = append(w.State, e)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func readFrames(chunk []byte, f func(kind uint64, payload []byte) error) error {
	dec := bus.NewDecoder(chunk)
	for dec.Len() > 0 {
		kind := dec.Uint()
		payload := dec.Bytes()
		if err := dec.Err(); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if err := f(kind, payload); err != nil {
			return err
		}
	}
	return nil
}
