package devicekeys

import (
	"context"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// claim gives out keys (POST /keys/claim), all of a request in one transaction.
func (k *Keys) claim(ctx context.Context, req *userapi.ClaimKeysRequest) (*userapi.ClaimKeysResponse, error) {
	if len(req.Claims) > userapi.MaxClaims {
		return nil, merr.InvalidParam("At most %d keys can be claimed at once", userapi.MaxClaims)
	}
	answer := &userapi.ClaimKeysResponse{Keys: make([]userapi.ClaimedKey, len(req.Claims))}
	var claims []storage.Claim
	var at []int
	for i, c := range req.Claims {
		localpart, ok := k.localpart(c.UserID)
		if ok && plain(c.DeviceID, userapi.MaxKey) && plain(c.Algorithm, userapi.MaxKey) {
			claims = append(claims, storage.Claim{Localpart: localpart, Device: c.DeviceID, Algorithm: c.Algorithm})
			at = append(at, i)
		}
	}
	if len(claims) == 0 {
		return answer, nil
	}
	given, err := k.users.ClaimKeys(ctx, claims)
	if err != nil {
		return nil, err
	}
	for i, g := range given {
		if g.Keys != nil {
			answer.Keys[at[i]] = userapi.ClaimedKey{Name: g.Algorithm + ":" + g.ID, Key: g.Keys}
		}
	}
	return answer, nil
}
