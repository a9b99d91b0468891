package userapi

import "hearth/internal/bus"

// Who may register, and who may come in.
var (
	// CheckRegistrationToken says whether a registration token may be used now.
	CheckRegistrationToken = bus.Call[RegistrationTokenRequest, Validity]{Subject: "userstore.registration_token.check"}
	// RegistrationTokens lists all registration tokens in order of their text, a page
	// of at most 500 after the token After.
	RegistrationTokens = bus.Call[RegistrationTokensRequest, RegistrationTokensResponse]{Subject: "userstore.registration_token.list"}
	// SetRegistrationToken makes a token, or with Update changes the limits of one;
	// Completed is not used. Errors: M_INVALID_PARAM if it is there or its text is
	// not an opaque identifier, M_NOT_FOUND if it should be there.
	SetRegistrationToken = bus.Call[SetRegistrationTokenRequest, RegistrationToken]{Subject: "userstore.registration_token.set"}
	// DeleteRegistrationToken removes a token, 404 M_NOT_FOUND if it is not there.
	DeleteRegistrationToken = bus.Call[RegistrationTokenRequest, Empty]{Subject: "userstore.registration_token.delete"}
	// Approve lets an account log in that waits for it.
	Approve = bus.Call[UserRequest, Empty]{Subject: "userstore.approve"}
	// Unapproved lists the users who wait, at most 500 after the user id UserID.
	Unapproved = bus.Call[UserRequest, UserList]{Subject: "userstore.unapproved"}
)

// RegistrationTokenRequest names a registration token.
type RegistrationTokenRequest struct{ Token string }

// Validity is an answer of yes or no.
type Validity struct{ Valid bool }

// RegistrationToken allows registration. Uses is how often, ExpiresTS until when in
// milliseconds; −1 for each means without limit.
type RegistrationToken struct {
	Token           string
	Uses, Completed int64
	ExpiresTS       int64
	CreatedTS       int64
}

// RegistrationTokensRequest asks for the page after a token.
type RegistrationTokensRequest struct{ After string }

// RegistrationTokensResponse is a page.
type RegistrationTokensResponse struct {
	Tokens []RegistrationToken
	More   bool
}

// SetRegistrationTokenRequest carries the token; an empty text lets the store choose.
type SetRegistrationTokenRequest struct {
	RegistrationToken
	Update bool
}

// UserList is a list of user ids in order; More says that there is another page.
type UserList struct {
	UserIDs []string
	More    bool
}
