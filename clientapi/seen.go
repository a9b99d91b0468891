package clientapi

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
)

// seenEvery is how often the use of devices is stored: once for each device, however
// many requests it made.
const seenEvery = time.Minute

// seenDevices collects which devices make requests.
type seenDevices struct {
	bus *bus.Bus
	now func() time.Time
	log *logrus.Entry
	mu  sync.Mutex // guards used
	// used has at most userapi.MaxSeen devices; what comes when it is full is noted
	// with a later request.
	used map[device]userapi.SeenDevice
}

type device struct{ user, id string }

func newSeenDevices(b *bus.Bus, now func() time.Time, log *logrus.Entry) *seenDevices {
	return &seenDevices{bus: b, now: now, log: log, used: map[device]userapi.SeenDevice{}}
}

func (s *seenDevices) note(id matrixhttp.Identity, ip string) {
	if id.DeviceID == "" {
		return
	}
	key := device{id.UserID, id.DeviceID}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.used[key]; !ok && len(s.used) >= userapi.MaxSeen {
		return
	}
	s.used[key] = userapi.SeenDevice{UserID: id.UserID, DeviceID: id.DeviceID, IP: ip, TS: s.now().UnixMilli()}
}

// flush stores what was collected. What cannot be stored is forgotten: the next
// requests say it again.
func (s *seenDevices) flush(ctx context.Context) {
	s.mu.Lock()
	used := s.used
	s.used = map[device]userapi.SeenDevice{}
	s.mu.Unlock()
	if len(used) == 0 {
		return
	}
	req := &userapi.SeenRequest{}
	for _, d := range used {
		req.Devices = append(req.Devices, d)
	}
	if _, err := userapi.Seen.Do(ctx, s.bus, req); err != nil && s.log != nil {
		s.log.WithError(err).Warn("could not store when devices were last used")
	}
}

// run stores until ctx ends.
func (s *seenDevices) run(ctx context.Context) {
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.flush(ctx)
		}
	}
}
