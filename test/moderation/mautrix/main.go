// Command mautrix makes every call of maunium.net/go/mautrix/synapseadmin to a server and says
// what has failed. It is a module of its own, so that nothing of it is among the server's
// dependencies. Its arguments are the URL of the admin listener, the access token and user id of
// an administrator, and the shared secret of registration.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/synapseadmin"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2], id.UserID(os.Args[3]), os.Args[4]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("all calls are answered")
}

// calls does calls until one fails.
type calls struct{ err error }

func (c *calls) do(what string, f func() error) {
	if c.err != nil {
		return
	}
	if err := f(); err != nil {
		c.err = fmt.Errorf("%s: %w", what, err)
	}
}

func wrong(got any) error { return fmt.Errorf("wrong answer: %+v", got) }

func run(ctx context.Context, url, token string, boss id.UserID, secret string) error {
	base, err := mautrix.NewClient(url, boss, token)
	if err != nil {
		return err
	}
	cli := &synapseadmin.Client{Client: base}
	c := &calls{}
	const eve = id.UserID("@eve:localhost")
	var eveToken string
	c.do("shared-secret registration", func() error {
		if _, err := cli.GetRegisterNonce(ctx); err != nil {
			return err
		}
		made, err := cli.SharedSecretRegister(ctx, secret, synapseadmin.ReqSharedSecretRegister{Username: "eve", Password: "password of eve", Displayname: "Eve"})
		if err != nil {
			return err
		}
		if eveToken = made.AccessToken; made.UserID != eve || eveToken == "" {
			return wrong(made)
		}
		return nil
	})
	c.users(ctx, cli, eve)
	if c.err != nil {
		return c.err
	}
	user, err := mautrix.NewClient(url, eve, eveToken)
	if err != nil {
		return err
	}
	c.rooms(ctx, cli, user, eve)
	c.do("account", func() error {
		suspend := func(on bool) error {
			return cli.SuspendAccount(ctx, eve, synapseadmin.ReqSuspendUser{Suspend: on})
		}
		if err := suspend(true); err != nil {
			return err
		}
		if err := suspend(false); err != nil {
			return err
		}
		if err := cli.ResetPassword(ctx, synapseadmin.ReqResetPassword{UserID: eve, NewPassword: "another password", LogoutDevices: true}); err != nil {
			return err
		}
		if err := cli.DeactivateAccount(ctx, eve, synapseadmin.ReqDeleteUser{Erase: true}); err != nil {
			return err
		}
		info, err := cli.GetUserInfo(ctx, eve)
		if err == nil && !info.Deactivated {
			err = wrong(info)
		}
		return err
	})
	return c.err
}

func (c *calls) users(ctx context.Context, cli *synapseadmin.Client, eve id.UserID) {
	c.do("username available", func() error {
		free, err := cli.UsernameAvailable(ctx, "nobody")
		if err == nil && !free.Available {
			err = wrong(free)
		}
		return err
	})
	c.do("devices", func() error {
		list, err := cli.ListDevices(ctx, eve)
		if err == nil && (list.Total != 1 || len(list.Devices) != 1) {
			err = wrong(list)
		}
		return err
	})
	c.do("modify account", func() error {
		err := cli.CreateOrModifyAccount(ctx, eve, synapseadmin.ReqCreateOrModifyAccount{Displayname: "Eve the Third"})
		if err != nil {
			return err
		}
		info, err := cli.GetUserInfo(ctx, eve)
		if err == nil && (info.DisplayName != "Eve the Third" || info.UserID != eve) {
			err = wrong(info)
		}
		return err
	})
	c.do("rate limit", func() error {
		limit := synapseadmin.ReqSetRatelimit{MessagesPerSecond: 100, BurstCount: 200}
		if err := cli.SetUserRatelimit(ctx, eve, limit); err != nil {
			return err
		}
		got, err := cli.GetUserRatelimit(ctx, eve)
		if err != nil {
			return err
		}
		if got != limit {
			return wrong(got)
		}
		return cli.DeleteUserRatelimit(ctx, eve)
	})
}

func (c *calls) rooms(ctx context.Context, cli *synapseadmin.Client, user *mautrix.Client, eve id.UserID) {
	var rooms [2]id.RoomID
	c.do("make rooms", func() error {
		for i := range rooms {
			made, err := user.CreateRoom(ctx, &mautrix.ReqCreateRoom{Name: fmt.Sprint("Room ", i), Preset: "private_chat"})
			if err != nil {
				return err
			}
			if rooms[i] = made.RoomID; i > 0 {
				continue
			}
			if _, err := user.SendMessageEvent(ctx, made.RoomID, event.EventMessage, &event.MessageEventContent{MsgType: event.MsgText, Body: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
	c.do("list rooms", func() error {
		list, err := cli.ListRooms(ctx, synapseadmin.ReqListRoom{SearchTerm: "room", OrderBy: "name", Direction: mautrix.DirectionForward, Limit: 1})
		if err == nil && (list.TotalRooms != 2 || len(list.Rooms) != 1 || list.Rooms[0].RoomID != rooms[0] || list.NextBatch != 1) {
			err = wrong(list)
		}
		return err
	})
	c.do("room info", func() error {
		info, err := cli.RoomInfo(ctx, rooms[0])
		if err == nil && (info.Name != "Room 0" || info.Creator != eve || info.JoinedLocalMembers != 1) {
			err = wrong(info)
		}
		return err
	})
	c.do("members", func() error {
		list, err := cli.RoomMembers(ctx, rooms[0])
		if err == nil && (list.Total != 1 || list.Members[0] != eve) {
			err = wrong(list)
		}
		return err
	})
	c.do("messages", func() error {
		page, err := cli.RoomMessages(ctx, rooms[0], "", "", mautrix.DirectionBackward, &mautrix.FilterPart{Types: []event.Type{event.EventMessage}}, 5)
		if err == nil && (len(page.Chunk) != 1 || page.Chunk[0].Sender != eve) {
			err = wrong(page)
		}
		return err
	})
	c.do("join and power", func() error {
		if err := cli.JoinUserToRoom(ctx, rooms[0], synapseadmin.ReqJoinUserToRoom{UserID: cli.Client.UserID}); err != nil {
			return err
		}
		return cli.MakeRoomAdmin(ctx, string(rooms[0]), synapseadmin.ReqMakeRoomAdmin{UserID: cli.Client.UserID})
	})
	c.do("block", func() error {
		for _, on := range []bool{true, false} {
			if err := cli.BlockRoom(ctx, rooms[1], synapseadmin.ReqBlockRoom{Block: on}); err != nil {
				return err
			}
			got, err := cli.GetRoomBlockStatus(ctx, rooms[1])
			if err != nil {
				return err
			}
			if got.Block != on {
				return wrong(got)
			}
		}
		return nil
	})
	c.do("redact user", func() error {
		job, err := cli.RedactUser(ctx, eve, synapseadmin.ReqRedactUser{Rooms: []id.RoomID{rooms[0]}, Reason: "spam"})
		if err != nil {
			return err
		}
		return await(func() (string, error) {
			got, err := cli.RedactUserStatus(ctx, job.RedactID)
			return string(got.Status), err
		})
	})
	c.do("delete room", func() error {
		job, err := cli.DeleteRoom(ctx, rooms[0], synapseadmin.ReqDeleteRoom{Purge: true})
		if err != nil {
			return err
		}
		return await(func() (string, error) {
			got, err := cli.DeleteRoomStatus(ctx, job.DeleteID)
			return got.Status, err
		})
	})
	c.do("delete room at once", func() error {
		got, err := cli.DeleteRoomSync(ctx, rooms[1], synapseadmin.ReqDeleteRoom{Purge: true, Block: true})
		if err == nil && (len(got.KickedUsers) != 1 || got.KickedUsers[0] != eve) {
			err = wrong(got)
		}
		return err
	})
}

// await asks until a job is complete.
func await(status func() (string, error)) error {
	for range 300 {
		got, err := status()
		if err != nil {
			return err
		}
		if got == "complete" {
			return nil
		}
		if got == "failed" {
			return wrong(got)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the job does not end")
}
