// Package mail sends short messages by SMTP: a bounded queue, one sender, a few
// attempts. What is in the queue when the process ends is lost; whoever waits for a
// message asks for it again.
package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

// How a connection is protected.
const (
	StartTLS = "starttls" // must be offered and is used
	TLS      = "tls"      // from the first byte
	Plain    = "none"     // for a relay on the same machine
)

const (
	queueLength = 200
	attempts    = 4
	timeout     = 30 * time.Second // for one attempt
)

// Options say where mail goes out.
type Options struct {
	Server             string // host:port
	Security           string // StartTLS, TLS or Plain
	Username, Password string // empty: no log-in
	From               string // an address, maybe with a name
	Log                *logrus.Entry
	Now                func() time.Time
	// Config is the TLS configuration; nil: the system's authorities. Its ServerName
	// is set here.
	Config *tls.Config
	// Pause is the time before the second attempt, doubled each time; 0: ten seconds.
	Pause time.Duration
}

// Message is one message. Text is plain text, in lines that end with \n.
type Message struct{ To, Subject, Text string }

// Sender is the queue with its sender.
type Sender struct {
	o     Options
	from  *mail.Address
	host  string
	queue chan Message
}

// New checks the options.
func New(o Options) (*Sender, error) {
	from, err := mail.ParseAddress(o.From)
	if err != nil {
		return nil, fmt.Errorf("mail: the sender %q is not an address", o.From)
	}
	host, _, err := net.SplitHostPort(o.Server)
	if err != nil || host == "" {
		return nil, fmt.Errorf("mail: the server %q is not host:port", o.Server)
	}
	switch o.Security {
	case StartTLS, TLS, Plain:
	default:
		return nil, fmt.Errorf("mail: unknown security %q", o.Security)
	}
	if o.Pause == 0 {
		o.Pause = 10 * time.Second
	}
	return &Sender{o: o, from: from, host: host, queue: make(chan Message, queueLength)}, nil
}

// Send queues a message, or returns 503 if the queue is full.
func (s *Sender) Send(m Message) error {
	select {
	case s.queue <- m:
		return nil
	default:
		return merr.Busy(time.Minute)
	}
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.queue:
			s.deliver(ctx, m)
		}
	}
}

func (s *Sender) deliver(ctx context.Context, m Message) {
	pause := s.o.Pause
	for attempt := 1; ; attempt++ {
		err := s.transmit(ctx, m)
		if err == nil {
			return
		}
		if attempt == attempts || permanent(err) || ctx.Err() != nil {
			if s.o.Log != nil {
				s.o.Log.WithError(quiet(err)).Warn("a mail could not be sent")
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// transmit sends one message.
func (s *Sender) transmit(ctx context.Context, m Message) error {
	body, err := s.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // also bounds a server that says nothing
	client, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return err
	}
	if s.o.Security == StartTLS {
		if err := client.StartTLS(s.tls()); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if s.o.Username != "" {
		if err := client.Auth(smtp.PlainAuth("", s.o.Username, s.o.Password, s.host)); err != nil {
			return fmt.Errorf("log in: %w", err)
		}
	}
	if err := client.Mail(s.from.Address); err != nil {
		return err
	}
	if err := client.Rcpt(m.To); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = client.Quit() // the message is accepted, whatever is said now
	return nil
}

func (s *Sender) dial(ctx context.Context) (net.Conn, error) {
	if s.o.Security == TLS {
		return (&tls.Dialer{Config: s.tls()}).DialContext(ctx, "tcp", s.o.Server)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.o.Server)
}

func (s *Sender) tls() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.o.Config != nil {
		c = s.o.Config.Clone()
	}
	c.ServerName = s.host
	return c
}

// permanent reports whether the server has refused for good.
func permanent(err error) bool {
	var answer *textproto.Error
	return errors.As(err, &answer) && answer.Code >= 500
}

// quiet is an error without the words of the server, which may name the recipient.
func quiet(err error) error {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("the mail server answered %d", answer.Code)
	}
	return err
}
