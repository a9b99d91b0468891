package auth

import "hearth/internal/pdu"

// numbers holds the places of the rules in one room version. The rules of
// m.room.aliases (v1–v5), the room id (v12), knocking (v7+), restricted joins
// (v8+) and integer power levels (v10+) move those that follow them.
type numbers struct {
	authEvents, federate, aliases, member, joined, thirdParty, required, ownKey, levels, redaction int

	noCreate, wrongRoom string

	// Under member.
	authorised, join, invite, leave, ban, knock, unknown int
	// Under join.
	restricted, public, otherwise int
	// Under levels.
	users, creators, first, named, oldEvents, newEvents, oldUsers, newUsers int
}

func numbersOf(v *pdu.RoomVersion) numbers {
	n := numbers{authEvents: 2, federate: 3, noCreate: "2.4", wrongRoom: "2.5"}
	next := 4
	take := func() int { next++; return next - 1 }
	if v.DomainlessRoomIDs {
		n.authEvents, n.federate, n.noCreate, n.wrongRoom = 3, 4, "2", "2"
		next = 5
	}
	if v.AliasAuthRule {
		n.aliases = take()
	}
	n.member, n.joined, n.thirdParty, n.required, n.ownKey, n.levels = take(), take(), take(), take(), take(), take()
	if v.RedactionAuthRule {
		n.redaction = take()
	}

	next = 2
	if v.RestrictedJoins {
		n.authorised = take()
	}
	n.join, n.invite, n.leave, n.ban = take(), take(), take(), take()
	if v.KnockAllowed {
		n.knock = take()
	}
	n.unknown = take()

	next = 5
	if v.RestrictedJoins {
		n.restricted = take()
	}
	n.public, n.otherwise = take(), take()

	next = 1
	if v.IntegerPowerLevels {
		next = 3
	}
	n.users = take()
	if v.PrivilegedCreators {
		n.creators = take()
	}
	n.first, n.named, n.oldEvents, n.newEvents, n.oldUsers, n.newUsers = take(), take(), take(), take(), take(), take()
	return n
}
