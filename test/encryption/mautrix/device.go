package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// device is a client with one session.
type device struct {
	client   *mautrix.Client
	machine  *crypto.OlmMachine
	helper   *verificationhelper.VerificationHelper
	password string

	mu       sync.Mutex
	events   map[id.EventID]*event.Event // encrypted ones
	plain    map[id.EventID]string       // their bodies
	txn      id.VerificationTransactionID
	decimals []int
	asked    bool // by this device
	verified bool
}

func newDevice() *device {
	return &device{events: map[id.EventID]*event.Event{}, plain: map[id.EventID]string{}}
}

// shown is what the device shows of an event.
type shown struct {
	Session string `json:"session"`
	Body    string `json:"body,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (d *device) do(ctx context.Context, command string, a *args) (any, error) {
	switch command {
	case "login":
		return d.login(ctx, a)
	case "devices":
		user := id.UserID(a.User)
		devices, err := d.machine.CryptoStore.GetDevices(ctx, user)
		if err == nil && devices == nil { // nothing was sent to the user yet
			var all map[id.UserID]map[id.DeviceID]*id.Device
			all, err = d.machine.FetchKeys(ctx, []id.UserID{user}, true)
			devices = all[user]
		}
		return slices.Collect(maps.Keys(devices)), err
	case "ready":
		return d.ready(ctx, a)
	case "send":
		return d.send(ctx, a)
	case "read":
		return d.read(ctx, id.RoomID(a.Room)), nil
	case "protect":
		return d.protect(ctx)
	case "restore":
		return d.restore(ctx, a.Recovery)
	case "verify":
		txn, err := d.helper.StartVerification(ctx, id.UserID(a.User))
		d.follow(txn, true)
		return nil, err
	case "sas":
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.decimals) != 3 {
			return nil, nil
		}
		return fmt.Sprintf("%d %d %d", d.decimals[0], d.decimals[1], d.decimals[2]), nil
	case "confirm":
		return nil, d.helper.ConfirmSAS(ctx, d.txn)
	case "verified":
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.verified, nil
	case "signed":
		return d.signed(ctx, a)
	case "wake":
		return nil, nil
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

func (d *device) login(ctx context.Context, a *args) (any, error) {
	client, err := mautrix.NewClient(a.URL, "", "")
	if err != nil {
		return nil, err
	}
	client.Log = zerolog.New(os.Stderr).Level(zerolog.WarnLevel) // the test shows it if it fails
	client.DefaultHTTPRetries = 10                               // for a server that is away
	client.DefaultHTTPBackoff = 200 * time.Millisecond
	session, err := client.Login(ctx, &mautrix.ReqLogin{
		Type:       mautrix.AuthTypePassword,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: a.User},
		Password:   a.Password, InitialDeviceDisplayName: "mautrix-go", StoreCredentials: true,
	})
	if err != nil {
		return nil, err
	}
	d.client, d.password = client, a.Password
	state := mautrix.NewMemoryStateStore()
	client.StateStore = state
	d.machine = crypto.NewOlmMachine(client, &client.Log, crypto.NewMemoryStore(nil), state.(crypto.StateStore))
	client.Crypto = cipher{d}
	if err := d.machine.Load(ctx); err != nil {
		return nil, err
	}
	if err := d.machine.ShareKeys(ctx, -1); err != nil {
		return nil, err
	}
	// The library takes itself for the only device of its user until that list changes.
	if _, err := d.machine.FetchKeys(ctx, []id.UserID{session.UserID}, true); err != nil {
		return nil, err
	}
	return map[string]string{"user": session.UserID.String(), "device": session.DeviceID.String(), "token": session.AccessToken}, d.sync(ctx)
}

// impatient asks a server that does not answer again soon.
type impatient struct{ *mautrix.DefaultSyncer }

func (impatient) OnFailedSync(_ *mautrix.RespSync, err error) (time.Duration, error) {
	if errors.Is(err, mautrix.MUnknownToken) {
		return 0, err
	}
	return 200 * time.Millisecond, nil
}

// sync starts to sync and waits until the first answer is handled.
func (d *device) sync(ctx context.Context) error {
	syncer := impatient{d.client.Syncer.(*mautrix.DefaultSyncer)}
	syncer.FilterJSON = &mautrix.Filter{Room: &mautrix.RoomFilter{Timeline: &mautrix.FilterPart{Limit: 200}}}
	d.client.Syncer = syncer
	syncer.OnEvent(d.client.StateStoreSyncHandler)
	syncer.OnSync(d.machine.ProcessSyncResponse)
	syncer.OnEventType(event.StateMember, d.machine.HandleMemberEvent)
	syncer.OnEventType(event.EventEncrypted, func(_ context.Context, e *event.Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events[e.ID] = e
	})
	d.helper = verificationhelper.NewVerificationHelper(d.client, d.machine, nil, callbacks{d}, false, false, true)
	if err := d.helper.Init(ctx); err != nil {
		return err
	}
	first := make(chan struct{}, 1)
	syncer.OnSync(func(context.Context, *mautrix.RespSync, string) bool {
		select {
		case first <- struct{}{}:
		default:
		}
		return true
	})
	failed := make(chan error, 1)
	go func() { failed <- d.client.SyncWithContext(ctx) }()
	select {
	case <-first:
		return nil
	case err := <-failed:
		return err
	}
}

func (d *device) members(ctx context.Context, room id.RoomID, memberships ...event.Membership) ([]id.UserID, error) {
	all, err := d.client.StateStore.GetAllMembers(ctx, room)
	var users []id.UserID
	for user, member := range all {
		if slices.Contains(memberships, member.Membership) {
			users = append(users, user)
		}
	}
	return users, err
}

func (d *device) ready(ctx context.Context, a *args) (bool, error) {
	joined, err := d.members(ctx, id.RoomID(a.Room), event.MembershipJoin)
	if err != nil || len(joined) != a.Members {
		return false, err
	}
	return d.client.StateStore.IsEncrypted(ctx, id.RoomID(a.Room))
}

func (d *device) send(ctx context.Context, a *args) (string, error) {
	resp, err := d.client.SendMessageEvent(ctx, id.RoomID(a.Room), event.EventMessage, &event.MessageEventContent{MsgType: event.MsgText, Body: a.Body})
	if err != nil {
		return "", err
	}
	return resp.EventID.String(), nil
}

// read decrypts what is there now.
func (d *device) read(ctx context.Context, room id.RoomID) map[id.EventID]shown {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[id.EventID]shown{}
	for eventID, e := range d.events {
		if e.RoomID != room {
			continue
		}
		s := shown{Session: e.Content.AsEncrypted().SessionID.String(), Body: d.plain[eventID]}
		if s.Body == "" {
			if plain, err := d.machine.DecryptMegolmEvent(ctx, e); err != nil {
				s.Error = err.Error()
			} else {
				s.Body = plain.Content.AsMessage().Body
				d.plain[eventID] = s.Body
			}
		}
		all[eventID] = s
	}
	return all
}
