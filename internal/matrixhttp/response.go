package matrixhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"hearth/internal/merr"
)

// Raw is an answer that is JSON already.
type Raw []byte

// Response is an answer with its own status or header.
type Response struct {
	Status int // 0: 200
	Header map[string]string
	Body   any // as the result of a Handler, but no Response
}

// Stream is an answer of any size: the function writes the JSON body. An error
// before the first byte becomes an error answer; after it the connection is cut,
// so that the client cannot take a part for the whole.
type Stream func(w io.Writer) error

// writeTimeout is how long a client may take to accept an answer, or one chunk of
// a stream.
const writeTimeout = 60 * time.Second

// exchange is one request and what was answered so far.
type exchange struct {
	mux     *Mux
	w       http.ResponseWriter
	req     Request
	status  int // 0: nothing was written
	err     error
	aborted bool
}

// render writes the result of a handler.
func (x *exchange) render(result any, err error) {
	if err != nil {
		x.fail(err)
		return
	}
	if serve, ok := result.(Serve); ok {
		x.serve(serve)
		return
	}
	status, header := http.StatusOK, map[string]string(nil)
	if r, ok := result.(Response); ok {
		header, result = r.Header, r.Body
		if r.Status != 0 {
			status = r.Status
		}
	}
	for k, v := range header {
		x.w.Header().Set(k, v)
	}
	if stream, ok := result.(Stream); ok {
		x.stream(status, stream)
		return
	}
	body, err := encode(result)
	if err != nil {
		x.fail(fmt.Errorf("encode the answer: %w", err))
		return
	}
	x.write(status, body)
}

// encode writes JSON without escaping <, > and &, which have no meaning here.
func encode(result any) ([]byte, error) {
	switch v := result.(type) {
	case nil:
		return []byte("{}"), nil
	case Raw:
		return v, nil
	case json.RawMessage:
		return v, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(result); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func (x *exchange) fail(err error) {
	e := merr.From(err)
	if x.req.ctx.Err() != nil && !e.Temporary {
		// The client left or the server stops; whoever still listens may try again.
		e = merr.Unavailable("The request was cancelled").WithCause(err)
	}
	x.err = e
	if x.status != 0 {
		x.aborted = true
		return
	}
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		x.w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	x.write(e.Status, e.Body())
}

func (x *exchange) write(status int, body []byte) {
	x.head(status)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil && x.err == nil {
		x.err = fmt.Errorf("write the answer: %w", err)
	}
}

// head fixes what every answer has.
func (x *exchange) head(status int) {
	x.status = status
	x.w.Header()["Content-Type"] = x.mux.jsonType
	x.extend()
}

// answered calls those who wait for the answer to be out. Only for them is it pushed out
// here; else net/http does that right after.
func (x *exchange) answered() {
	if len(x.req.after) == 0 {
		return
	}
	// A writer that cannot flush, as in tests, has nothing to flush.
	_ = http.NewResponseController(x.w).Flush()
	for _, f := range x.req.after {
		f()
	}
}

func (x *exchange) extend() {
	// A writer without deadlines, as in tests, needs none.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

func (x *exchange) stream(status int, stream Stream) {
	w := &streamWriter{x: x, status: status}
	if err := stream(w); err != nil {
		x.fail(err)
		return
	}
	if x.status == 0 {
		x.write(status, nil)
	}
}

// streamWriter writes the head with the first byte.
type streamWriter struct {
	x      *exchange
	status int
}

func (w *streamWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.x.status == 0 {
		w.x.head(w.status)
		w.x.w.WriteHeader(w.status)
	} else {
		w.x.extend()
	}
	return w.x.w.Write(p)
}
