package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ioTimeout ends a request that nobody answers.
const ioTimeout = 60 * time.Second

// conn is a keep-alive HTTP/1.1 connection of one device. It does as little as
// possible, because it shares the machine with the server that is measured.
type conn struct {
	conn   net.Conn
	in     *bufio.Reader
	header []byte // the header lines of every request
	out    []byte
	body   []byte
}

// dial opens a connection for a token.
func dial(base, token string) (*conn, error) {
	host := strings.TrimPrefix(base, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	header := " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + token + "\r\n"
	return &conn{conn: c, in: bufio.NewReaderSize(c, 16<<10), header: []byte(header)}, nil
}

func (c *conn) close() { _ = c.conn.Close() }

// do sends a request and returns the status and the body of the answer, which is
// valid until the next call.
func (c *conn) do(method, path string, body []byte) (int, []byte, error) {
	c.out = append(append(append(append(c.out[:0], method...), ' '), path...), c.header...)
	if body != nil {
		c.out = append(c.out, "Content-Type: application/json\r\nContent-Length: "...)
		c.out = append(strconv.AppendInt(c.out, int64(len(body)), 10), "\r\n"...)
	}
	c.out = append(append(c.out, "\r\n"...), body...)
	if err := c.conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, nil, err
	}
	return c.answer()
}

func (c *conn) answer() (int, []byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	length, err := c.length()
	if err != nil {
		return 0, nil, err
	}
	c.body = c.body[:0]
	if length >= 0 {
		err = c.read(length)
	} else {
		err = c.chunks()
	}
	return status, c.body, err
}

var (
	contentLength = []byte("content-length:")
	chunked       = []byte("transfer-encoding: chunked")
)

// length reads the header: the length of the body, -1 for chunks.
func (c *conn) length() (int, error) {
	length, known := 0, false
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			if !known {
				return 0, errors.New("an answer without length")
			}
			return length, nil
		}
		switch n := len(contentLength); {
		case len(line) > n && bytes.EqualFold(line[:n], contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[n:]))); err != nil {
				return 0, err
			}
			known = true
		case bytes.EqualFold(line, chunked):
			length, known = -1, true
		}
	}
}

// read appends n bytes to the body.
func (c *conn) read(n int) error {
	have := len(c.body)
	if cap(c.body)-have < n {
		c.body = append(make([]byte, 0, have+2*n), c.body...)
	}
	c.body = c.body[:have+n]
	_, err := io.ReadFull(c.in, c.body[have:])
	return err
}

func (c *conn) chunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return fmt.Errorf("chunk %q", line)
		}
		if err := c.read(int(n)); err != nil {
			return err
		}
		if _, err := c.in.Discard(2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
