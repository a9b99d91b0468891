package mail

import (
	"context"
	"crypto/tls"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/testkit/smtpsink"
)

func sender(t *testing.T, sink *smtpsink.Sink, change func(*Options)) (*Sender, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	logger := logrus.New()
	logger.SetOutput(&log)
	o := Options{
		Server: sink.Addr, Security: StartTLS, Username: "user", Password: "secret", From: "Hearth <noreply@hearth.test>",
		Log: logrus.NewEntry(logger), Now: time.Now, Config: &tls.Config{RootCAs: sink.Pool}, Pause: time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func run(t *testing.T, s *Sender) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func TestSend(t *testing.T) {
	sink := smtpsink.Start(t, true)
	s, _ := sender(t, sink, nil)
	defer run(t, s)()
	text := "Grüße,\n.\nan address: https://x.test/?a=b&c=" + strings.Repeat("d", 200) + "\n"
	if err := s.Send(Message{To: "alice@x.test", Subject: "Täglich\r\nBcc: eve@x.test", Text: text}); err != nil {
		t.Fatal(err)
	}
	m := sink.Next(t)
	if m.From != "noreply@hearth.test" || m.To != "alice@x.test" || !m.TLS || m.Auth != "user:secret" {
		t.Errorf("%+v", m)
	}
	parsed, err := mail.ReadMessage(strings.NewReader(m.Data))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header.Get("Bcc") != "" || parsed.Header.Get("To") != "<alice@x.test>" || parsed.Header.Get("From") != `"Hearth" <noreply@hearth.test>` {
		t.Errorf("%v", parsed.Header)
	}
	if subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject")); err != nil || subject != "Täglich  Bcc: eve@x.test" {
		t.Errorf("%q %v", subject, err)
	}
	if _, err := parsed.Header.Date(); err != nil {
		t.Error(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != text {
		t.Errorf("%q %v", body, err)
	}
	for _, line := range strings.Split(m.Data, "\r\n") {
		if len(line) > 200 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// TestRefusals: temporary answers are followed by another attempt, final ones are not,
// and no address gets into the log.
func TestRefusals(t *testing.T) {
	sink := smtpsink.Start(t, true)
	s, log := sender(t, sink, nil)
	sink.Refuse("451 alice@x.test later", "451 later", "550 alice@x.test unknown")
	stop := run(t, s)
	for _, to := range []string{"alice@x.test", "bob@x.test"} {
		if err := s.Send(Message{To: to, Subject: "s", Text: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	if m := sink.Next(t); m.To != "bob@x.test" {
		t.Errorf("%+v", m)
	}
	for _, bad := range []string{"a@b\r\nRCPT TO:<c@d>", "no address", "Name <a@b>", ""} {
		if err := s.Send(Message{To: bad, Subject: "s", Text: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Send(Message{To: "carol@x.test", Subject: "s", Text: "t"}); err != nil {
		t.Fatal(err)
	}
	if m := sink.Next(t); m.To != "carol@x.test" {
		t.Errorf("%+v", m)
	}
	stop()
	if text := log.String(); strings.Contains(text, "alice") || strings.Count(text, "answered 550") != 1 || strings.Count(text, "not an address") != 4 {
		t.Errorf("%s", text)
	}
}

// TestNoTLS: a server that does not offer TLS, or one whom nobody trusts, gets neither
// the password nor the message.
func TestNoTLS(t *testing.T) {
	plain := smtpsink.Start(t, false)
	strange := smtpsink.Start(t, true)
	for name, c := range map[string]*Sender{
		"not offered": func() *Sender { s, _ := sender(t, plain, nil); return s }(),
		"not trusted": func() *Sender {
			s, _ := sender(t, strange, func(o *Options) { o.Config = nil })
			return s
		}(),
	} {
		if err := c.transmit(t.Context(), Message{To: "alice@x.test", Subject: "s", Text: "t"}); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if len(plain.Mails)+len(strange.Mails) != 0 {
		t.Error("a message was sent in the clear")
	}
	local, _ := sender(t, plain, func(o *Options) { o.Security, o.Username = Plain, "" })
	if err := local.transmit(t.Context(), Message{To: "alice@x.test", Subject: "s", Text: "t"}); err != nil {
		t.Error(err)
	}
	if m := plain.Next(t); m.TLS || m.Auth != "" {
		t.Errorf("%+v", m)
	}
}

func TestQueueIsBounded(t *testing.T) {
	s, _ := sender(t, smtpsink.Start(t, true), nil)
	var err error
	n := 0
	for ; err == nil && n < 10*queueLength; n++ {
		err = s.Send(Message{To: "a@x.test"})
	}
	if n != queueLength+1 {
		t.Errorf("%d messages in the queue", n)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Server: "x", Security: TLS, From: "a@b"}, {Server: ":25", Security: TLS, From: "a@b"},
		{Server: "x:25", Security: "ssl", From: "a@b"}, {Server: "x:25", Security: TLS, From: "nobody"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
