package userapi

import "hearth/internal/bus"

// Third-party identifiers that were bound at identity servers through this one.
var (
	// Bindings lists those of a user.
	Bindings = bus.Call[UserRequest, BindingsResponse]{Subject: "userstore.bindings"}
	// AddBinding notes one; to repeat it does no harm. M_FORBIDDEN if there are too many.
	AddBinding = bus.Call[Binding, Empty]{Subject: "userstore.binding.add"}
	// DeleteBinding forgets one; it need not be there.
	DeleteBinding = bus.Call[Binding, Empty]{Subject: "userstore.binding.delete"}
)

// MaxBindings is how many a user may have.
const MaxBindings = 100

// Binding is an identifier of a user that an identity server knows.
type Binding struct{ UserID, Medium, Address, Server string }

// BindingsResponse lists bindings.
type BindingsResponse struct{ Bindings []Binding }
