package retention_test

import (
	"testing"

	"hearth/roomserver/retention"
	"hearth/roomserver/roomapi"
)

const (
	hour = int64(3_600_000)
	day  = 24 * hour
)

func TestLifetime(t *testing.T) {
	all := roomapi.RetentionPolicy{
		DefaultMaxLifetime: 90 * day, AllowedLifetimeMin: day, AllowedLifetimeMax: 60 * day,
		Direct: 80 * day, Private: 70 * day, Public: 40 * day, Encrypted: 50 * day, Forgotten: 7 * day,
	}
	for name, c := range map[string]struct {
		policy roomapi.RetentionPolicy
		facts  retention.Facts
		want   int64
	}{
		"nothing is said":                       {roomapi.RetentionPolicy{}, retention.Facts{Public: true, Encrypted: true}, 0},
		"only limits bound nothing":             {roomapi.RetentionPolicy{AllowedLifetimeMin: day, AllowedLifetimeMax: 2 * day}, retention.Facts{}, 0},
		"the default":                           {roomapi.RetentionPolicy{DefaultMaxLifetime: day}, retention.Facts{}, day},
		"a room's own":                          {roomapi.RetentionPolicy{}, retention.Facts{Own: hour}, hour},
		"a room's own instead of the default":   {roomapi.RetentionPolicy{DefaultMaxLifetime: day}, retention.Facts{Own: 2 * day}, 2 * day},
		"a room's own below the least":          {roomapi.RetentionPolicy{AllowedLifetimeMin: day}, retention.Facts{Own: hour}, day},
		"a room's own above the most":           {roomapi.RetentionPolicy{AllowedLifetimeMax: day}, retention.Facts{Own: 2 * day}, day},
		"a room's own does not count":           {roomapi.RetentionPolicy{IgnoreRooms: true, DefaultMaxLifetime: day}, retention.Facts{Own: hour}, day},
		"direct":                                {all, retention.Facts{Few: true}, 80 * day},
		"private":                               {all, retention.Facts{}, 70 * day},
		"public":                                {all, retention.Facts{Public: true}, 40 * day},
		"two people in a public room":           {all, retention.Facts{Public: true, Few: true}, 40 * day},
		"encrypted":                             {all, retention.Facts{Encrypted: true}, 50 * day},
		"encrypted and public":                  {all, retention.Facts{Encrypted: true, Public: true}, 40 * day},
		"forgotten":                             {all, retention.Facts{Public: true, Forgotten: true}, 7 * day},
		"the room is stricter than its kind":    {all, retention.Facts{Public: true, Own: 2 * day}, 2 * day},
		"the kind is stricter than the room":    {all, retention.Facts{Public: true, Own: 50 * day}, 40 * day},
		"an administrator is stricter":          {all, retention.Facts{Public: true, Override: hour}, hour},
		"an administrator is not bound":         {all, retention.Facts{Own: 2 * day, Override: hour}, hour},
		"an administrator who is less strict":   {all, retention.Facts{Own: 2 * day, Override: 5 * day}, 2 * day},
		"an administrator, and nothing else is": {roomapi.RetentionPolicy{}, retention.Facts{Override: day}, day},
	} {
		if got := retention.Lifetime(&c.policy, c.facts); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestOwnLifetime(t *testing.T) {
	for content, want := range map[string]int64{
		`{}`:                                        0,
		`{"max_lifetime":1000}`:                     1000,
		`{"max_lifetime":null}`:                     0,
		`{"max_lifetime":0}`:                        0,
		`{"max_lifetime":-5}`:                       0,
		`{"max_lifetime":"1000"}`:                   0,
		`{"max_lifetime":9007199254740991}`:         retention.MaxLifetime,
		`{"max_lifetime":9007199254740992}`:         0,
		`{"min_lifetime":500}`:                      0,
		`{"max_lifetime":1000,"min_lifetime":1}`:    1000,
		`{"max_lifetime":1000,"min_lifetime":1000}`: 1000,
		`{"max_lifetime":1000,"min_lifetime":1001}`: 0,
		`{"max_lifetime":1000,"min_lifetime":null}`: 1000,
		`{"max_lifetime":1000,"min_lifetime":"x"}`:  0,
	} {
		if got := retention.OwnLifetime([]byte(content)); got != want {
			t.Errorf("%s: got %d, want %d", content, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := roomapi.RetentionPolicy{AllowedLifetimeMin: day, AllowedLifetimeMax: day, Public: day}
	if err := retention.Check(&good); err != nil {
		t.Error(err)
	}
	for _, bad := range []roomapi.RetentionPolicy{
		{DefaultMaxLifetime: -1}, {Forgotten: retention.MaxLifetime + 1}, {AllowedLifetimeMin: 2 * day, AllowedLifetimeMax: day},
	} {
		if retention.Check(&bad) == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
