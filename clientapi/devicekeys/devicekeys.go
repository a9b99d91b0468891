// Package devicekeys is the part of the user store that end-to-end encryption needs:
// the keys of devices, cross-signing, messages between devices, the backup of room
// keys. It checks what clients send; package storage keeps it.
//
//	upload.go, shape.go        keys of a device
//	query.go, claim.go         what others get of them
//	crosssigning.go, sign.go   cross-signing keys, signatures
//	todevice.go                messages between devices
//	backup.go                  backups of room keys
//	dehydrated.go              devices without a client
//	remote.go, resync.go       devices of users of other servers, and their messages
package devicekeys

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

// Deps is what the package needs.
type Deps struct {
	Bus        *bus.Bus
	Users      *storage.Users
	ServerName string
	Log        *logrus.Entry // may be nil
	Now        func() time.Time
	Metrics    prometheus.Registerer // may be nil
}

// Keys answers the calls of userapi that have to do with encryption.
type Keys struct {
	bus        *bus.Bus
	users      *storage.Users
	serverName string
	log        *logrus.Entry
	now        func() time.Time
	stale      chan struct{} // rings when a list of devices became stale
	metrics    *metrics
}

// Handle registers the handlers. The result keeps lists of other servers' devices up to
// date while its Resync runs.
func Handle(d Deps) (*Keys, error) {
	k := &Keys{bus: d.Bus, users: d.Users, serverName: d.ServerName, log: d.Log, now: d.Now, stale: make(chan struct{}, 1)}
	var err error
	if k.metrics, err = newMetrics(k, d.Metrics); err != nil {
		return nil, err
	}
	for _, err := range []error{
		bus.Handle(d.Bus, userapi.UploadKeys, k.upload),
		bus.HandleStream(d.Bus, userapi.QueryKeys, k.query),
		bus.Handle(d.Bus, userapi.ClaimKeys, k.claim),
		bus.Handle(d.Bus, userapi.SetCrossSigning, k.setCrossSigning),
		bus.Handle(d.Bus, userapi.UploadSignatures, k.uploadSignatures),
		bus.Handle(d.Bus, userapi.ChangedDeviceLists, k.changedDeviceLists),
		bus.Handle(d.Bus, userapi.SendToDevice, k.sendToDevice),
		bus.Handle(d.Bus, userapi.DeviceSync, k.deviceSync),
		bus.Handle(d.Bus, userapi.LogPosition, k.logPosition),
		bus.Handle(d.Bus, userapi.GetDeviceQueue, k.deviceQueue),
		bus.Handle(d.Bus, userapi.CreateBackup, k.createBackup),
		bus.Handle(d.Bus, userapi.GetBackup, k.getBackup),
		bus.Handle(d.Bus, userapi.SetBackup, k.setBackup),
		bus.Handle(d.Bus, userapi.DeleteBackup, k.deleteBackup),
		bus.Handle(d.Bus, userapi.PutBackupKeys, k.putBackupKeys),
		bus.Handle(d.Bus, userapi.GetBackupKeys, k.getBackupKeys),
		bus.Handle(d.Bus, userapi.DeleteBackupKeys, k.deleteBackupKeys),
		bus.Handle(d.Bus, userapi.PutDehydrated, k.putDehydrated),
		bus.Handle(d.Bus, userapi.GetDehydrated, k.getDehydrated),
		bus.Handle(d.Bus, userapi.DeleteDehydrated, k.deleteDehydrated),
		bus.Handle(d.Bus, userapi.DeviceListUpdate, k.deviceListUpdate),
		bus.Handle(d.Bus, userapi.SigningKeyUpdate, k.signingKeyUpdate),
		bus.Handle(d.Bus, userapi.SetRemoteDevices, k.setRemoteDevices),
		bus.Handle(d.Bus, userapi.TrackDeviceLists, k.trackDeviceLists),
		bus.Handle(d.Bus, userapi.DistrustDeviceLists, k.distrustDeviceLists),
		bus.Handle(d.Bus, userapi.SendToDeviceFromRemote, k.fromRemote),
		bus.Handle(d.Bus, userapi.DeviceListPosition, k.deviceListPosition),
	} {
		if err != nil {
			k.Close()
			return nil, err
		}
	}
	return k, nil
}

// Close ends what is shown to Prometheus.
func (k *Keys) Close() { k.metrics.close() }

func (k *Keys) userID(localpart string) string { return "@" + localpart + ":" + k.serverName }

// localpart returns the localpart of one of our users.
func (k *Keys) localpart(userID string) (string, bool) {
	localpart, ok := strings.CutPrefix(userID, "@")
	if ok {
		localpart, ok = strings.CutSuffix(localpart, ":"+k.serverName)
	}
	return localpart, ok && localpart != "" && plain(localpart, userapi.MaxKey)
}

// local returns the localpart of one of our users, 404 M_NOT_FOUND for any other.
func (k *Keys) local(userID string) (string, error) {
	localpart, ok := k.localpart(userID)
	if !ok {
		return "", merr.NotFound("User not found")
	}
	return localpart, nil
}

// fullID is the user id of what storage calls a target.
func (k *Keys) fullID(target string) string {
	if strings.HasPrefix(target, "@") {
		return target
	}
	return k.userID(target)
}

// plain reports whether s is text without control characters that is not empty and not
// too long.
func plain(s string, limit int) bool {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0
}

func (k *Keys) changedDeviceLists(ctx context.Context, req *userapi.ChangedDeviceListsRequest) (*userapi.ChangedDeviceListsResponse, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	const page = 1500 // of each; user ids have at most 255 bytes, so an answer is less than 1 MiB
	users, signed, next, more, err := k.users.ChangedDeviceLists(ctx, localpart, req.After, req.UpTo, page)
	if err != nil {
		return nil, err
	}
	answer := &userapi.ChangedDeviceListsResponse{Next: next, More: more}
	for _, u := range users {
		answer.Users = append(answer.Users, k.fullID(u))
	}
	for _, u := range signed {
		answer.Signed = append(answer.Signed, k.fullID(u))
	}
	return answer, nil
}
