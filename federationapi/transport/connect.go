package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"
)

const (
	tlsTimeout      = 10 * time.Second
	idleTimeout     = 90 * time.Second
	maxIdle         = 512 // connections
	maxIdlePerHost  = 4
	maxAnswerHeader = 64 << 10 // bytes
	h2Buffer        = 1 << 20  // bytes of an answer that wait for their reader, for each stream
)

func tlsConfig(cas *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: cas, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// targetKey carries the target of a request to the function that connects.
type targetKey struct{}

// newRoundTripper returns the connections to all servers. The host of a request's URL
// is the name of a pool; where to connect is in its context.
func newRoundTripper(o Options) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			t, ok := ctx.Value(targetKey{}).(*target)
			if !ok {
				return nil, errors.New("a request without a target")
			}
			return connect(ctx, o, network, t)
		},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("servers are only spoken to over TLS")
		},
		ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: h2Buffer, MaxReceiveBufferPerConnection: 4 * h2Buffer,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
		},
		DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdlePerHost, MaxConnsPerHost: maxPerServer + 1, IdleConnTimeout: idleTimeout,
	}
}

// connect tries the addresses of a target in turn. The name in the certificate is
// checked before anything is sent.
func connect(ctx context.Context, o Options, network string, t *target) (net.Conn, error) {
	var all []error
	for _, address := range t.addresses {
		conn, err := connectTo(ctx, o, network, address, t.certificate)
		if err == nil {
			return conn, nil
		}
		all = append(all, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(all...)
}

func connectTo(ctx context.Context, o Options, network, address, certificate string) (net.Conn, error) {
	raw, err := o.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := tlsConfig(o.CAs)
	config.ServerName = certificate // an address is not sent as SNI
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, err
	}
	return conn, nil
}
