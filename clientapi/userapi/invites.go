package userapi

import (
	"encoding/json"

	"hearth/internal/pdu"
)

// InvitePermissionType is the account data that says who may invite a user ("Invite
// permission").
const InvitePermissionType = "m.invite_permission_config"

// BlocksInvites reports whether such account data refuses all invites, which are then
// answered with 403 M_INVITE_BLOCKED.
func BlocksInvites(content json.RawMessage) bool {
	action, _ := pdu.GetString(content, "default_action")
	return action == "block"
}
