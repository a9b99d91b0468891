package auth

import "hearth/internal/pdu"

// memberEvent is rule 5.
func (c *check) memberEvent() error {
	// 5.1. If there is no state_key property, or no membership property in
	// content, reject.
	val, ok := pdu.Get(c.ev.Content, "membership")
	if !ok || c.ev.StateKey == nil {
		return c.reject(rule(c.n.member, 1), "A member event needs a state key and a membership")
	}
	// From version 8: 5.2. If content has a join_authorised_via_users_server
	// property:
	// 5.2.1. If the event is not validly signed by the homeserver of the user ID
	// denoted by the key, reject.
	if c.v.RestrictedJoins && !c.signedByAuthoriser() {
		return c.reject(rule(c.n.member, c.n.authorised, 1), "The authorising server has not signed")
	}
	membership, _ := pdu.String(val)
	switch membership {
	case "join":
		return c.join()
	case "invite":
		return c.invite()
	case "leave":
		return c.leave()
	case "ban":
		return c.ban()
	case "knock":
		if c.v.KnockAllowed {
			return c.knock()
		}
	}
	// 5.8. Otherwise, the membership is unknown. Reject.
	return c.reject(rule(c.n.member, c.n.unknown), "Unknown membership")
}

// signedByAuthoriser reports whether there is no authorising user or its server
// has signed.
func (c *check) signedByAuthoriser() bool {
	val, ok := pdu.Get(c.ev.Content, "join_authorised_via_users_server")
	if !ok {
		return true
	}
	id, _ := pdu.String(val)
	_, server, err := pdu.ParseUserID(id)
	if err != nil {
		return false
	}
	return c.rules.SignedBy == nil || c.rules.SignedBy(c.ev, server)
}

// joinRule returns the current join_rule; invite, the default, without event.
func (c *check) joinRule() string {
	ev := c.st.Event(typeJoinRules, "")
	if ev == nil {
		return "invite"
	}
	joinRule, _ := pdu.GetString(ev.Content, "join_rule")
	return joinRule
}

// join is rule 5.3.
func (c *check) join() error {
	at := func(n int) string { return rule(c.n.member, c.n.join, n) }
	target := *c.ev.StateKey
	// 5.3.1. If the only previous event is an m.room.create and the state_key is
	// the sender of the m.room.create [up to version 10: the creator], allow.
	if len(c.ev.PrevEvents) == 1 && c.ev.PrevEvents[0] == c.create.EventID && c.isRoomCreator(target) {
		return nil
	}
	// 5.3.2. If the sender does not match state_key, reject.
	if c.ev.Sender != target {
		return c.reject(at(2), "Nobody can join for somebody else")
	}
	// 5.3.3. If the sender is banned, reject.
	membership := c.membership(target)
	if membership == "ban" {
		return c.reject(at(3), "The user is banned")
	}
	isMember := membership == "join" || membership == "invite"
	switch joinRule := c.joinRule(); {
	// 5.3.4. If the join_rule is invite or [from version 7] knock then allow if
	// membership state is invite or join.
	case joinRule == "invite", joinRule == "knock" && c.v.KnockAllowed:
		if isMember {
			return nil
		}
	// 5.3.5. If the join_rule is restricted [from version 8] or knock_restricted
	// [from version 10]:
	case joinRule == "restricted" && c.v.RestrictedJoins, joinRule == "knock_restricted" && c.v.KnockRestricted:
		// 5.3.5.1. If membership state is join or invite, allow.
		// 5.3.5.2. If the join_authorised_via_users_server key in content is not a
		// user with sufficient permission to invite other users or is not a joined
		// member of the room, reject.
		if !isMember && !c.authorised() {
			return c.reject(rule(c.n.member, c.n.join, c.n.restricted, 2), "No member who may invite has let the user in")
		}
		// 5.3.5.3. Otherwise, allow.
		return nil
	// 5.3.6. If the join_rule is public, allow.
	case joinRule == "public":
		return nil
	}
	// 5.3.7. Otherwise, reject.
	return c.reject(at(c.n.otherwise), "The join rule does not let the user in")
}

// isRoomCreator is about rule 5.3.1, where additional creators do not count.
func (c *check) isRoomCreator(userID string) bool {
	if c.v.CreatorIsSender {
		return c.create.Sender == userID
	}
	return isCreator(c.create, userID)
}

func (c *check) authorised() bool {
	id, ok := pdu.GetString(c.ev.Content, "join_authorised_via_users_server")
	return ok && c.membership(id) == "join" && c.power().User(id) >= c.power().Invite
}

// invite is rule 5.4.
func (c *check) invite() error {
	at := func(n int) string { return rule(c.n.member, c.n.invite, n) }
	// 5.4.1. If content has a third_party_invite property: …
	if val, ok := pdu.Get(c.ev.Content, "third_party_invite"); ok {
		return c.thirdPartyInvite(val)
	}
	// 5.4.2. If the sender's current membership state is not join, reject.
	if c.membership(c.ev.Sender) != "join" {
		return c.reject(at(2), "The sender is not in the room")
	}
	// 5.4.3. If target user's current membership state is join or ban, reject.
	switch c.membership(*c.ev.StateKey) {
	case "join":
		return c.reject(at(3), "The user is already in the room")
	case "ban":
		return c.reject(at(3), "The user is banned")
	}
	// 5.4.4. If the sender's power level is greater than or equal to the invite
	// level, allow.
	if c.power().User(c.ev.Sender) >= c.power().Invite {
		return nil
	}
	// 5.4.5. Otherwise, reject.
	return c.reject(at(5), "The sender may not invite")
}

// leave is rule 5.5.
func (c *check) leave() error {
	at := func(n int) string { return rule(c.n.member, c.n.leave, n) }
	sender, target := c.ev.Sender, *c.ev.StateKey
	membership := c.membership(target)
	// 5.5.1. If the sender matches state_key, allow if and only if that user's
	// current membership state is invite, join, or [from version 7] knock.
	if sender == target {
		if membership == "invite" || membership == "join" || membership == "knock" && c.v.KnockAllowed {
			return nil
		}
		return c.reject(at(1), "The user is not in the room")
	}
	// 5.5.2. If the sender's current membership state is not join, reject.
	if c.membership(sender) != "join" {
		return c.reject(at(2), "The sender is not in the room")
	}
	level := c.power().User(sender)
	// 5.5.3. If the target user's current membership state is ban, and the sender's
	// power level is less than the ban level, reject.
	if membership == "ban" && level < c.power().Ban {
		return c.reject(at(3), "The sender may not lift bans")
	}
	// 5.5.4. If the sender's power level is greater than or equal to the kick
	// level, and the target user's power level is less than the sender's power
	// level, allow.
	if level >= c.power().Kick && c.power().User(target) < level {
		return nil
	}
	// 5.5.5. Otherwise, reject.
	return c.reject(at(5), "The sender may not remove this user")
}

// ban is rule 5.6.
func (c *check) ban() error {
	at := func(n int) string { return rule(c.n.member, c.n.ban, n) }
	// 5.6.1. If the sender's current membership state is not join, reject.
	if c.membership(c.ev.Sender) != "join" {
		return c.reject(at(1), "The sender is not in the room")
	}
	// 5.6.2. If the sender's power level is greater than or equal to the ban level,
	// and the target user's power level is less than the sender's power level, allow.
	level := c.power().User(c.ev.Sender)
	if level >= c.power().Ban && c.power().User(*c.ev.StateKey) < level {
		return nil
	}
	// 5.6.3. Otherwise, reject.
	return c.reject(at(3), "The sender may not ban this user")
}

// knock is rule 5.7.
func (c *check) knock() error {
	at := func(n int) string { return rule(c.n.member, c.n.knock, n) }
	// 5.7.1. If the join_rule is anything other than knock or [from version 10]
	// knock_restricted, reject.
	if joinRule := c.joinRule(); joinRule != "knock" && !(joinRule == "knock_restricted" && c.v.KnockRestricted) {
		return c.reject(at(1), "The join rule does not let users knock")
	}
	// 5.7.2. If sender does not match state_key, reject.
	if c.ev.Sender != *c.ev.StateKey {
		return c.reject(at(2), "Nobody can knock for somebody else")
	}
	// 5.7.3. If the sender's current membership is not ban, invite, or join, allow.
	switch c.membership(c.ev.Sender) {
	case "ban", "invite", "join":
		// 5.7.4. Otherwise, reject.
		return c.reject(at(4), "The user is banned, invited or in the room")
	}
	return nil
}
