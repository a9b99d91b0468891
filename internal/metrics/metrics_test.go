package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	h := Handler(New("1.2.3"))
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/metrics/x": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
		if path == "/metrics" {
			for _, name := range []string{`hearth_build_info{version="1.2.3"} 1`, "go_goroutines ", "process_resident_memory_bytes "} {
				if !strings.Contains(w.Body.String(), name) {
					t.Errorf("%s is missing", name)
				}
			}
		}
	}
}
