package spec

import (
	"net/http"
	"net/url"
)

// serviceSteps are what an application service does, and what users see of it.
var serviceSteps = []step{
	{"ping", func(w *world) {
		here := in("appserviceId", w.service.id)
		w.do(&w.service.person, "pingAppservice", request{path: here, body: object{"transaction_id": "txn"}})
		w.refused(w.alice, "pingAppservice", request{path: here}, http.StatusForbidden, "M_FORBIDDEN")
	}},
	{"third-party networks", func(w *world) {
		w.must(w.do(w.alice, "getProtocols", request{}), "Example", "example", "instances", "0", "desc")
		example := in("protocol", "example")
		w.must(w.do(w.alice, "getProtocolMetadata", request{path: example}), "nick", "user_fields", "0")
		w.some(w.do(w.alice, "queryLocationByProtocol", request{path: example, query: url.Values{"channel": {"#channel"}}}))
		w.some(w.do(w.alice, "queryUserByProtocol", request{path: example, query: url.Values{"nick": {"nick"}}}))
		w.some(w.do(w.alice, "queryLocationByAlias", request{query: url.Values{"alias": {"#_example_channel:localhost"}}}))
		w.some(w.do(w.alice, "queryUserByID", request{query: url.Values{"userid": {"@_example_nick:localhost"}}}))
	}},
	{"directory of a network", func(w *world) {
		here := in("networkId", "example", "roomId", w.room)
		w.do(&w.service.person, "updateAppserviceRoomDirectoryVisibility", request{path: here, body: object{"visibility": "public"}})
		w.some(w.do(w.alice, "queryPublicRooms", request{body: object{"include_all_networks": true}}), "chunk")
	}},
}
