package mail

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

var errRecipient = errors.New("mail: the recipient is not an address")

// compose writes a message as RFC 5322 wants it. The recipient must be a bare address
// and the subject one line, or else text of others would become headers.
func (s *Sender) compose(m Message) ([]byte, error) {
	to, err := mail.ParseAddress(m.To)
	if err != nil || to.Address != m.To {
		return nil, errRecipient
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	domain := s.from.Address[strings.LastIndexByte(s.from.Address, '@')+1:]
	subject := strings.NewReplacer("\r", " ", "\n", " ").Replace(m.Subject)
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", s.from.String()},
		{"To", "<" + to.Address + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"Date", s.o.Now().UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + hex.EncodeToString(id[:]) + "@" + domain + ">"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
		{"Auto-Submitted", "auto-generated"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.ReplaceAll(m.Text, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
