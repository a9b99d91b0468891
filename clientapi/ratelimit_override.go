package clientapi

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
)

// overrides are the limits that administrators have set for single users.
type overrides struct {
	mu     sync.RWMutex
	byUser map[string]userapi.RateLimit
}

func newOverrides() *overrides { return &overrides{byUser: map[string]userapi.RateLimit{}} }

func (o *overrides) of(userID string) (limit userapi.RateLimit, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	limit, ok = o.byUser[userID]
	return limit, ok
}

func (o *overrides) set(userID string, value json.RawMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var limit userapi.RateLimit
	if len(value) == 0 || string(value) == "null" || json.Unmarshal(value, &limit) != nil {
		delete(o.byUser, userID)
		return
	}
	o.byUser[userID] = limit
}

// reload is how often what was told and lost is read again.
const reload = time.Minute

// run follows the settings until ctx ends.
func (o *overrides) run(ctx context.Context, b *bus.Bus) error {
	cancel, err := bus.Subscribe(b, userapi.SettingTopic, func(c *userapi.SetSettingRequest) {
		if c.Name == userapi.SettingRateLimit {
			o.set(c.UserID, c.Value)
		}
	})
	if err != nil {
		return err
	}
	defer cancel()
	for {
		all, err := userapi.SettingsByName.Do(ctx, b, &userapi.SettingsByNameRequest{Name: userapi.SettingRateLimit})
		wait := reload
		if err != nil {
			wait = time.Second
		} else {
			o.replace(all.Values)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (o *overrides) replace(values map[string]json.RawMessage) {
	fresh := newOverrides()
	for userID, value := range values {
		fresh.set(userID, value)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byUser = fresh.byUser
}
