package matrixhttp

import (
	"errors"
	"io"
	"net/http"
	"time"

	"hearth/internal/merr"
)

// Serve is an answer that is not JSON: the function writes head and body as an
// http.Handler does, at any length; each part of it has its own deadline. An error
// before anything was written becomes an error answer, after it the connection is
// cut.
type Serve func(w http.ResponseWriter, r *http.Request) error

// serveChunk is how much of a file goes out under one deadline.
const serveChunk = 4 << 20

func (x *exchange) serve(f Serve) {
	before := x.w.Header().Clone()
	err := f(&binaryWriter{x: x}, x.req.HTTP)
	switch {
	case err == nil && x.status == 0:
		x.status = http.StatusOK // net/http writes it
	case err == nil:
	case x.status == 0:
		clear(x.w.Header())
		for k, v := range before {
			x.w.Header()[k] = v
		}
		x.fail(err)
	default:
		x.fail(err)
	}
}

// binaryWriter remembers the status and moves the deadline with each write.
type binaryWriter struct{ x *exchange }

func (w *binaryWriter) Header() http.Header { return w.x.w.Header() }

func (w *binaryWriter) WriteHeader(status int) {
	if status >= 200 && w.x.status == 0 {
		w.x.status = status
	}
	w.x.extend()
	w.x.w.WriteHeader(status)
}

func (w *binaryWriter) Write(p []byte) (int, error) {
	if w.x.status == 0 {
		w.x.status = http.StatusOK
	}
	w.x.extend()
	return w.x.w.Write(p)
}

// ReadFrom lets the kernel copy a file to the connection, in parts.
func (w *binaryWriter) ReadFrom(src io.Reader) (int64, error) {
	if w.x.status == 0 {
		w.x.status = http.StatusOK
	}
	// The kernel takes a limit around a file, not a limit around a limit.
	limit, ok := src.(*io.LimitedReader)
	if !ok {
		limit = &io.LimitedReader{R: src, N: 1 << 62}
	}
	var sum int64
	for limit.N > 0 {
		w.x.extend()
		n, err := io.CopyN(w.x.w, limit.R, min(limit.N, serveChunk))
		sum += n
		limit.N -= n
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// Stream returns the body unread, for endpoints whose bodies are too large for
// memory. A body that is announced as larger than the route allows is refused here;
// one that turns out to be larger fails with M_TOO_LARGE when that is read. Each
// read has its own deadline. Errors of the reader are *merr.Error.
func (r *Request) Stream() (io.Reader, error) {
	limit := r.route.Body.Max
	if r.HTTP.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	r.read = true
	return &bodyReader{src: r.HTTP.Body, left: limit, limit: limit, control: http.NewResponseController(r.w)}, nil
}

type bodyReader struct {
	src         io.Reader
	left, limit int64
	control     *http.ResponseController
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.src == nil {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	// A writer without deadlines, as in tests, needs none.
	_ = b.control.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := b.src.Read(p)
	if int64(n) > b.left {
		return 0, tooLarge(b.limit)
	}
	b.left -= int64(n)
	if err == nil {
		return n, nil
	}
	_ = b.control.SetReadDeadline(time.Time{})
	if errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	return n, merr.New(http.StatusBadRequest, "M_UNKNOWN", "The request body could not be read").WithCause(err)
}
