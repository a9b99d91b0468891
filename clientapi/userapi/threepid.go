package userapi

import "hearth/internal/bus"

// Third-party identifiers. Addresses are compared in the form that the store keeps:
// e-mail in small letters.
var (
	// ThreePIDs lists the identifiers of a user.
	ThreePIDs = bus.Call[UserRequest, ThreePIDsResponse]{Subject: "userstore.threepids"}
	// ThreePIDOwner finds the user of an identifier, 404 M_NOT_FOUND if there is none.
	ThreePIDOwner = bus.Call[ThreePIDName, UserRequest]{Subject: "userstore.threepid.owner"}
	// AddThreePID gives a user an identifier that was validated: M_THREEPID_IN_USE if
	// it is another's. To repeat it does no harm.
	AddThreePID = bus.Call[AddThreePIDRequest, Empty]{Subject: "userstore.threepid.add"}
	// DeleteThreePID removes one; it need not be there.
	DeleteThreePID = bus.Call[AddThreePIDRequest, Empty]{Subject: "userstore.threepid.delete"}

	// StartValidation makes or renews the validation of an address. Repeated with the
	// same or a lower SendAttempt it returns the Sid and no Token: nothing is to be
	// sent. M_LIMIT_EXCEEDED if an address gets too many.
	StartValidation = bus.Call[StartValidationRequest, StartedValidation]{Subject: "userstore.validation.start"}
	// Validate takes the token that was sent: M_NO_VALID_SESSION if there is no such
	// validation, M_SESSION_EXPIRED if it is too old, M_TOKEN_INCORRECT.
	Validate = bus.Call[ValidateRequest, ValidatedAddress]{Subject: "userstore.validation.submit"}
	// Validated returns the address of a validation that has succeeded, and with
	// Consume ends it. Errors: M_NO_VALID_SESSION, M_SESSION_NOT_VALIDATED.
	Validated = bus.Call[ValidatedRequest, ValidatedAddress]{Subject: "userstore.validation.result"}
)

// ThreePIDName names an identifier.
type ThreePIDName struct{ Medium, Address string }

// ThreePID is an identifier of a user; times in milliseconds.
type ThreePID struct {
	Medium      string `json:"medium"` // email
	Address     string `json:"address"`
	ValidatedTS int64  `json:"validated_at"`
	AddedTS     int64  `json:"added_at"`
}

// ThreePIDsResponse lists identifiers.
type ThreePIDsResponse struct{ ThreePIDs []ThreePID }

// AddThreePIDRequest names a user and an identifier.
type AddThreePIDRequest struct {
	UserID   string
	ThreePID ThreePID
}

// Purposes of a validation. One that was made for one purpose is of no use for another.
const (
	ForRegistration = "register"
	ForPassword     = "password"
	ForAccount      = "account"
)

// StartValidationRequest asks for a validation.
type StartValidationRequest struct {
	Purpose, Medium, Address string
	ClientSecret             string
	SendAttempt              int64
	NextLink                 string
}

// StartedValidation is a validation; Token is what to send to the address.
type StartedValidation struct{ Sid, Token string }

// ValidateRequest carries what came back.
type ValidateRequest struct{ Sid, ClientSecret, Token string }

// ValidatedRequest asks for the result of a validation.
type ValidatedRequest struct {
	Purpose, Sid, ClientSecret string
	Consume                    bool
}

// ValidatedAddress is an address that its owner has confirmed.
type ValidatedAddress struct {
	Medium, Address string
	ValidatedTS     int64 // milliseconds
	NextLink        string
}

// Limits.
const (
	MaxThreePIDs    = 50  // per user
	MaxAddress      = 255 // bytes
	MaxClientSecret = 255 // bytes
	MaxNextLink     = 1024
)
