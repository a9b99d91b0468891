package account

import (
	"context"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func restrictions(admin bool, r storage.Restrictions) userapi.Restrictions {
	out := userapi.Restrictions{Locked: r.Locked, Suspended: r.Suspended, ShadowBanned: r.ShadowBanned, Role: r.Role}
	if admin {
		out.Role = userapi.RoleAdmin
	}
	return out
}

func (s *Store) restrict(ctx context.Context, req *userapi.RestrictRequest) (*userapi.Restricted, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	after, tokens, err := s.users.Restrict(ctx, localpart, func(a *storage.Account) error {
		for _, c := range []struct {
			to  *bool
			set *bool
		}{{req.Locked, &a.Locked}, {req.Suspended, &a.Suspended}, {req.ShadowBanned, &a.ShadowBanned}} {
			if c.to != nil {
				*c.set = *c.to
			}
		}
		return setRole(a, req.Role)
	})
	if err != nil {
		return nil, err
	}
	return &userapi.Restricted{User: *describeUser(req.UserID, after), Revoked: *s.revoke(tokens)}, nil
}

func setRole(a *storage.Account, role *string) error {
	if role == nil {
		return nil
	}
	switch *role {
	case userapi.RoleNone, userapi.RoleRead, userapi.RoleModerate:
		a.Admin, a.Role = false, *role
	case userapi.RoleAdmin:
		a.Admin, a.Role = true, ""
	default:
		return merr.InvalidParam("Unknown role")
	}
	return nil
}
