package clientapi

import "hearth/internal/matrixhttp"

// CallOptions say what group calls can use (MSC4143, MSC4195).
type CallOptions struct {
	// LiveKit are the URLs of services that let users into LiveKit servers, the best first.
	LiveKit []string
}

// transport is one way for group calls.
type transport struct {
	Type    string `json:"type"`
	Service string `json:"livekit_service_url"`
}

func (s *Server) transports() []transport {
	list := make([]transport, 0, len(s.options.Calls.LiveKit))
	for _, url := range s.options.Calls.LiveKit {
		list = append(list, transport{"livekit", url})
	}
	return list
}

// callTransports is GET /rtc/transports.
func (s *Server) callTransports(*matrixhttp.Request) (any, error) {
	return map[string]any{"rtc_transports": s.transports()}, nil
}
