package userapi

import "hearth/internal/bus"

// Single sign-on: who users are at providers. Register makes a user known there. It stays
// so after the account was deactivated, unless it was erased, so that nobody comes back.
var (
	// ExternalUser finds the user of an id, 404 M_NOT_FOUND if there is none.
	ExternalUser = bus.Call[ExternalID, UserRequest]{Subject: "userstore.external.user"}
	// ExternalIDs lists the ids of a user.
	ExternalIDs = bus.Call[UserRequest, ExternalIDsResponse]{Subject: "userstore.external.list"}
)

// ExternalID is who somebody is at a provider. Both parts are compared as they are.
type ExternalID struct{ Provider, Subject string }

// ExternalIDsResponse lists ids.
type ExternalIDsResponse struct{ IDs []ExternalID }
