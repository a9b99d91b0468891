package clientapi

import (
	"context"
	"slices"
	"strings"

	"hearth/clientapi/antispam"
	"hearth/clientapi/appservice"
	"hearth/clientapi/policy"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// newGuard makes what decides by rules and webhooks.
func newGuard(d *Deps) (*policy.Guard, error) {
	hooks, err := antispam.New(d.Webhooks, d.Log, d.Metrics)
	if err != nil {
		return nil, err
	}
	notices := "@" + d.Notices.Localpart + ":" + d.ServerName
	return policy.New(policy.Deps{
		Bus: d.Bus, ServerName: d.ServerName, Log: d.Log, Metrics: d.Metrics, Now: d.Now, Webhooks: hooks,
		TwoWay: d.TwoWayBlocking, Probation: d.Probation, Limits: d.RateLimits,
		Free: func(userID string) bool { return d.Appservices.Unlimited(userID) || userID == notices },
		Trusted: func(userID string) bool {
			return slices.ContainsFunc(d.Appservices.All(), func(r *appservice.Registration) bool { return userID == r.Sender || r.HasUser(userID) })
		},
	})
}

// mayInvite refuses an invite that the policy or the invited user does not allow.
func (s *Server) mayInvite(r *matrixhttp.Request, room, target string) error {
	_, err := s.policy.MayInvite(r.Context(), &userapi.MayInviteRequest{Inviter: r.Identity.UserID, Invitee: target, RoomID: room})
	return err
}

// maySet refuses a state event that the policy does not allow, or that invites somebody who may
// not be invited or joins a room that may not be joined.
func (s *Server) maySet(r *matrixhttp.Request, room, typ, stateKey string, content []byte) error {
	if typ == "m.room.member" {
		canonical, err := pdu.Canonical(content, true)
		if err != nil {
			return err
		}
		switch membership, _ := pdu.GetString(canonical, "membership"); {
		case membership == "invite":
			return s.mayInvite(r, room, stateKey)
		case membership == "leave":
			return nil
		}
	}
	return s.policy.MaySend(r.Context(), r.Identity.UserID, room, typ, &stateKey, content)
}

// mayEnter refuses a join or a knock that the policy does not allow.
func (s *Server) mayEnter(ctx context.Context, userID, target string) error {
	room := target
	if strings.HasPrefix(target, "#") {
		found, err := roomapi.ResolveAlias.Do(ctx, s.bus, &roomapi.AliasRequest{Alias: target})
		if err != nil {
			return nil // the join says what is wrong
		}
		room = found.RoomID
	}
	invited := false
	if s.policy.AsksAboutJoins() {
		_, err := roomapi.InviteState.Do(ctx, s.bus, &roomapi.InviteStateRequest{RoomID: room, UserID: userID})
		if e := merr.From(err); e != nil && e.Status >= 500 {
			return err
		}
		invited = err == nil
	}
	_, err := s.policy.MayJoin(ctx, &userapi.MayJoinRequest{UserID: userID, RoomID: room, Invited: invited})
	return err
}

// hiddenFrom answers for a user who is hidden from the one who asks, as if there were none.
//
// A request without an access token must not get round it, so it is refused where blocking goes
// both ways.
func (s *Server) hiddenFrom(r *matrixhttp.Request, userID string) error {
	if s.options.TwoWayBlocking && r.Identity.UserID == "" {
		if err := s.guest(r); err != nil {
			return err
		}
	}
	hidden, err := s.policy.HidesFrom(r.Context(), userID, r.Identity.UserID)
	if err == nil && hidden {
		return merr.NotFound("User not found")
	}
	return err
}
