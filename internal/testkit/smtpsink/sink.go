// Package smtpsink is a mail server for tests: it speaks SMTP on 127.0.0.1 and hands
// over what it receives.
package smtpsink

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Mail is a message as it came.
type Mail struct {
	From, To string // of the envelope
	Data     string
	TLS      bool
	Auth     string // name and password with a colon between, "" if nobody logged in
}

// Sink is the server. Its fields are set before the first connection.
type Sink struct {
	Addr string
	// Mails receives every message that was accepted.
	Mails chan Mail
	// Pool trusts the certificate of the sink, which is for localhost.
	Pool *x509.CertPool

	mu     sync.Mutex // guards refuse
	refuse []string
	config *tls.Config
	// offer says whether STARTTLS is offered.
	offer bool
}

// Start starts a sink that ends with the test. StartTLS is offered if startTLS.
func Start(t testing.TB, startTLS bool) *Sink {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s := &Sink{Addr: "localhost:" + port, Mails: make(chan Mail, 100), offer: startTLS}
	if err := s.certify(); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	open := map[net.Conn]bool{}
	var mu sync.Mutex // guards open
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			work.Go(func() {
				defer conn.Close()
				s.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return s
}

// Refuse makes the next recipients get these answers, such as "550 unknown".
func (s *Sink) Refuse(answers ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = answers
}

func (s *Sink) refused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refuse) == 0 {
		return ""
	}
	answer := s.refuse[0]
	s.refuse = s.refuse[1:]
	return answer
}

// Next waits for a message.
func (s *Sink) Next(t testing.TB) Mail {
	t.Helper()
	select {
	case m := <-s.Mails:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no mail came")
		return Mail{}
	}
}

func (s *Sink) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	s.Pool = x509.NewCertPool()
	s.Pool.AddCert(cert)
	s.config = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return nil
}

// serve speaks with one client.
func (s *Sink) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 sink")
	var m Mail
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			if s.offer && !m.TLS {
				say("250-sink\r\n250-STARTTLS\r\n250 AUTH PLAIN")
			} else {
				say("250-sink\r\n250 AUTH PLAIN")
			}
		case "STARTTLS":
			if !s.offer {
				say("502 not here")
				continue
			}
			say("220 go")
			secure := tls.Server(conn, s.config)
			if secure.Handshake() != nil {
				return
			}
			conn, r = secure, bufio.NewReader(secure)
			say = func(format string, args ...any) { fmt.Fprintf(secure, format+"\r\n", args...) }
			m.TLS = true
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			parts := strings.Split(string(raw), "\x00")
			m.Auth = strings.Join(parts[1:], ":")
			say("235 welcome")
		case "MAIL":
			m.From = between(rest)
			say("250 ok")
		case "RCPT":
			if answer := s.refused(); answer != "" {
				say("%s", answer)
				continue
			}
			m.To = between(rest)
			say("250 ok")
		case "DATA":
			say("354 go")
			var data strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			m.Data = data.String()
			s.Mails <- m
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 what?")
		}
	}
}

func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
