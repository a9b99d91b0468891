package spec

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"hearth/internal/testkit/oidcprovider"
	"hearth/internal/testkit/smtpsink"
	"hearth/test/harness"
)

func TestOperations(t *testing.T) {
	byID, all := readOperations(t)
	s, g := readSchemas(t), readGaps(t, byID)
	service, mail := startService(t), smtpsink.Start(t, false)
	server := harness.Start(t, harness.Options{Config: configuration(service, mail, oidcprovider.Start(t, nil))})
	c := newCaller(server.URL())
	t.Run("routes", func(t *testing.T) { routes(t, c, all) })
	t.Run("tokens", func(t *testing.T) { tokens(t, c, g, all) })
	t.Run("bodies", func(t *testing.T) {
		mallory := server.Register(t, "mallory")
		room, err := mallory.CreateRoom(nil)
		if err != nil {
			t.Fatal(err)
		}
		event, err := mallory.SendText(room, "txn", "text")
		if err != nil {
			t.Fatal(err)
		}
		bodies(t, c, s, all, mallory.Token, service.token, map[string]string{
			"userId": mallory.UserID, "deviceId": mallory.DeviceID, "roomId": room, "roomIdOrAlias": room, "eventId": event,
			"roomAlias": "#alias:localhost", "receiptType": "m.read", "kind": "override", "ruleId": "rule", "keyName": "displayname",
			"eventType": "org.example.type", "type": "org.example.type", "version": "1",
		})
	})
	t.Run("scenario", func(t *testing.T) { scenario(t, server, service, mail, s, g, byID, all) })
}

// configuration turns on what can be turned on.
func configuration(service *service, mail *smtpsink.Sink, provider *oidcprovider.Provider) func(map[string]any) {
	return func(m map[string]any) {
		client := m["listeners"].(map[string]any)["client"].(map[string]any)["address"].(string)
		m["appservices"] = []string{service.file}
		m["email"] = map[string]any{"server": mail.Addr, "security": "none", "from": "hearth@example.org"}
		m["support"] = map[string]any{"admin_email": "admin@example.org"}
		m["turn"] = map[string]any{"uris": []string{"turn:turn.example.org:3478"}, "secret": "secret of the TURN server"}
		m["url_previews"] = map[string]any{"enabled": true}
		m["outbound"] = map[string]any{"allow_networks": []string{"127.0.0.0/8"}}
		m["public_base_url"] = "http://" + client
		m["sso"] = map[string]any{"providers": []any{map[string]any{
			"id": "example", "name": "Example", "issuer": provider.URL, "client_id": provider.ClientID, "client_secret": provider.ClientSecret,
		}}}
	}
}

// page serves a web page and returns its URL.
func page(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<html><head><meta property="og:title" content="A page"></head><body>Text</body></html>`)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/page"
}
