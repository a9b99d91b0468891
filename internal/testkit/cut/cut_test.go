package cut_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"hearth/internal/testkit/cut"
)

func TestCutAndHeal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	defer server.Close()
	p := cut.New(t)
	p.Target(server.Listener.Addr().String())
	client := &http.Client{Timeout: 5 * time.Second}
	get := func() error {
		resp, err := client.Get("http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	for range 3 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
		p.Cut()
		if get() == nil {
			t.Fatal("a cut connection works")
		}
		p.Heal()
	}
}
