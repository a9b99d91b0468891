package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	synapseV1 = "/_synapse/admin/v1"
	synapseV2 = "/_synapse/admin/v2"
	hearthV1  = "/_hearth/admin/v1"
)

// adminCommands are what administrators do from the command line.
func adminCommands() []command {
	return []command{
		{"admin users", "list accounts", adminUsers},
		{"admin user", "show an account", adminUser},
		{"admin suspend", "suspend an account, or end that with --undo", adminSuspend},
		{"admin lock", "lock an account, or end that with --undo", adminLock},
		{"admin deactivate", "end an account for good", adminDeactivate},
		{"admin rooms", "list rooms", adminRooms},
		{"admin room", "show a room", adminRoom},
		{"admin room-block", "block a room, or end that with --undo", adminBlock},
		{"admin room-delete", "shut a room down and delete it", adminDeleteRoom},
		{"admin cases", "list what users have reported", adminCases},
		{"admin case", "show a case with its reports", adminCase},
		{"admin jobs", "list long work", adminJobs},
		{"audit verify", "check the chain of the audit log", auditVerify},
		{"audit list", "list entries of the audit log", auditList},
	}
}

// list is the common shape of commands that print a table.
func (p *program) list(ctx context.Context, f *adminFlags, path string, query url.Values, key string, columns []column) error {
	c, err := p.caller(f)
	if err != nil {
		return err
	}
	var answer row
	if err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &answer); err != nil {
		return err
	}
	rows, _ := answer[key].([]any)
	return show(p.stdout, *f.json, answer, columns, rows)
}

func adminUsers(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin users", "", "Lists accounts.")
	name := f.set.String("name", "", "only those whose name has this in it")
	limit := f.set.Int("limit", 100, "how many")
	from := f.set.Int("from", 0, "how many to skip")
	all := f.set.Bool("all", false, "deactivated and locked ones too")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(*limit)}, "from": {strconv.Itoa(*from)}}
	if *name != "" {
		q.Set("name", *name)
	}
	if *all {
		q.Set("deactivated", "true")
		q.Set("locked", "true")
	}
	return p.list(ctx, f, synapseV2+"/users", q, "users", []column{
		{"USER", "name"}, {"NAME", "displayname"}, {"CREATED", "creation_ts"}, {"SEEN", "last_seen_ts"}, {"ADMIN", "admin"},
		{"SUSPENDED", "suspended"}, {"LOCKED", "locked"}, {"DEACTIVATED", "deactivated"},
	})
}

// one prints one thing.
func (p *program) one(ctx context.Context, f *adminFlags, path string, keys ...string) error {
	c, err := p.caller(f)
	if err != nil {
		return err
	}
	var answer row
	if err := c.do(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return err
	}
	return details(p.stdout, *f.json, answer, keys...)
}

func adminUser(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin user", "USER", "Shows an account, by its whole user id.")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.one(ctx, f, synapseV2+"/users/"+segment(rest[0]), "name", "displayname", "threepids", "external_ids", "role", "admin", "is_guest",
		"suspended", "locked", "shadow_banned", "deactivated", "erased", "approved", "last_seen_ts")
}

// act is the common shape of commands that change something.
func (p *program) act(ctx context.Context, f *adminFlags, method, path string, body any, done string) error {
	c, err := p.caller(f)
	if err != nil {
		return err
	}
	var answer any
	if err := c.do(ctx, method, path, body, &answer); err != nil {
		return err
	}
	if *f.json {
		return printJSON(p.stdout, answer)
	}
	_, err = fmt.Fprintln(p.stdout, done)
	return err
}

func adminSuspend(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin suspend", "USER", "Suspends an account: its user can read and leave, but not take part.")
	undo, reason := f.set.Bool("undo", false, "end the suspension"), f.set.String("reason", "", "for the audit log")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.act(ctx, f, http.MethodPut, synapseV1+"/suspend/"+segment(rest[0]), row{"suspend": !*undo, "reason": *reason},
		rest[0]+map[bool]string{false: " is suspended.", true: " is not suspended any more."}[*undo])
}

func adminLock(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin lock", "USER", "Locks an account: nothing but log-out works.")
	undo, reason := f.set.Bool("undo", false, "unlock it"), f.set.String("reason", "", "for the audit log")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.act(ctx, f, http.MethodPut, hearthV1+"/users/"+segment(rest[0])+"/lock", row{"locked": !*undo, "reason": *reason},
		rest[0]+map[bool]string{false: " is locked.", true: " is not locked any more."}[*undo])
}

func adminDeactivate(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin deactivate", "USER", "Ends an account for good and takes its user out of all rooms.")
	erase, reason := f.set.Bool("erase", false, "forget what the user has said of themself"), f.set.String("reason", "", "for the audit log")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.act(ctx, f, http.MethodPost, synapseV1+"/deactivate/"+segment(rest[0]), row{"erase": *erase, "reason": *reason}, rest[0]+" is deactivated.")
}

func adminRooms(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin rooms", "", "Lists rooms.")
	search := f.set.String("search", "", "only those with this in their name or alias, or with this id")
	order := f.set.String("order", "joined_members", "joined_members, name, state_events …")
	limit := f.set.Int("limit", 100, "how many")
	from := f.set.Int("from", 0, "how many to skip")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	q := url.Values{"limit": {strconv.Itoa(*limit)}, "from": {strconv.Itoa(*from)}, "order_by": {*order}}
	if *search != "" {
		q.Set("search_term", *search)
	}
	return p.list(ctx, f, synapseV1+"/rooms", q, "rooms", []column{
		{"ROOM", "room_id"}, {"NAME", "name"}, {"ALIAS", "canonical_alias"}, {"MEMBERS", "joined_members"}, {"LOCAL", "joined_local_members"},
		{"VERSION", "version"}, {"JOIN", "join_rules"}, {"ENCRYPTION", "encryption"}, {"STATE", "state_events"},
	})
}

func adminRoom(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin room", "ROOM", "Shows a room, by its id.")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.one(ctx, f, synapseV1+"/rooms/"+segment(rest[0]), "room_id", "name", "topic", "canonical_alias", "creator", "version", "room_type",
		"joined_members", "joined_local_members", "joined_local_devices", "state_events", "public", "join_rules", "guest_access",
		"history_visibility", "encryption", "federatable", "tombstoned", "replacement_room", "forgotten")
}

func adminBlock(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin room-block", "ROOM", "Blocks a room: nobody here can enter it, invite to it or write in it.")
	undo, reason := f.set.Bool("undo", false, "end the block"), f.set.String("reason", "", "for the audit log")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.act(ctx, f, http.MethodPut, synapseV1+"/rooms/"+segment(rest[0])+"/block", row{"block": !*undo, "reason": *reason},
		rest[0]+map[bool]string{false: " is blocked.", true: " is not blocked any more."}[*undo])
}

// pollJob is the time between two looks at a job.
const pollJob = 500 * time.Millisecond

func adminDeleteRoom(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin room-delete", "ROOM", "Takes all users of this server out of a room and deletes it here. It waits until all is done.")
	block, reason := f.set.Bool("block", false, "block the room as well"), f.set.String("reason", "", "for the audit log")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	c, err := p.caller(f)
	if err != nil {
		return err
	}
	var job struct {
		ID string `json:"delete_id"`
	}
	if err := c.do(ctx, http.MethodDelete, synapseV2+"/rooms/"+segment(rest[0]), row{"block": *block, "purge": true, "reason": *reason}, &job); err != nil {
		return err
	}
	for said := -1; ; {
		var status struct {
			Status   string `json:"status"`
			Error    string `json:"error"`
			Shutdown struct {
				Kicked []string `json:"kicked_users"`
				Failed []string `json:"failed_to_kick_users"`
			} `json:"shutdown_room"`
		}
		if err := c.do(ctx, http.MethodGet, synapseV2+"/rooms/delete_status/"+segment(job.ID), nil, &status); err != nil {
			return err
		}
		if n := len(status.Shutdown.Kicked); n != said && !*f.json {
			said = n
			fmt.Fprintf(p.stdout, "%d users have left.\n", n)
		}
		switch status.Status {
		case "complete":
			if *f.json {
				return printJSON(p.stdout, status)
			}
			_, err := fmt.Fprintf(p.stdout, "%s is deleted.\n", rest[0])
			return err
		case "failed", "cancelled":
			return fmt.Errorf("the deletion is %s: %s", status.Status, status.Error)
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(p.stderr, "The server goes on with job %s.\n", job.ID)
			return ctx.Err()
		case <-time.After(pollJob):
		}
	}
}

func adminCases(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin cases", "", "Lists what users have reported, the most urgent first.")
	state := f.set.String("state", "", "open, assigned, resolved or dismissed")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	q := url.Values{}
	if *state != "" {
		q.Set("state", *state)
	}
	return p.list(ctx, f, hearthV1+"/cases", q, "cases", []column{
		{"CASE", "id"}, {"STATE", "state"}, {"PRIORITY", "priority"}, {"KIND", "kind"}, {"USER", "user_id"}, {"ROOM", "room_id"},
		{"REPORTERS", "reporters"}, {"OPENED", "opened_ts"}, {"ASSIGNEE", "assignee"}, {"OUTCOME", "outcome"},
	})
}

func adminCase(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin case", "NUMBER", "Shows a case with its reports and notes.")
	rest, err := parseFlags(f.set, args, 1)
	if err != nil {
		return err
	}
	return p.one(ctx, f, hearthV1+"/cases/"+segment(rest[0]), "id", "state", "kind", "user_id", "room_id", "event_id", "assignee", "outcome",
		"opened_ts", "updated_ts", "reporters", "reports", "notes")
}

func adminJobs(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("admin jobs", "", "Lists long work, the newest first.")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	return p.list(ctx, f, hearthV1+"/jobs", url.Values{}, "jobs", []column{
		{"JOB", "id"}, {"KIND", "kind"}, {"TARGET", "target"}, {"STATUS", "status"}, {"BY", "actor"}, {"BEGUN", "created_ts"}, {"ERROR", "error"},
	})
}

func auditVerify(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("audit verify", "", "Checks the chain of hashes of the audit log, from the first entry to the last. A broken chain is exit code 1.")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	c, err := p.caller(f)
	if err != nil {
		return err
	}
	var verdict struct {
		Entries int64  `json:"entries"`
		Head    string `json:"head"`
		Broken  int64  `json:"broken,omitempty"`
	}
	if err := c.do(ctx, http.MethodGet, hearthV1+"/audit/verify", nil, &verdict); err != nil {
		return err
	}
	if *f.json {
		if err := printJSON(p.stdout, verdict); err != nil {
			return err
		}
	}
	if verdict.Broken != 0 {
		return fmt.Errorf("the audit log was changed: entry %d does not follow from those before it", verdict.Broken)
	}
	if !*f.json {
		fmt.Fprintf(p.stdout, "The audit log is whole: %d entries.\n", verdict.Entries)
		if verdict.Head != "" {
			fmt.Fprintf(p.stdout, "The last one has the hash %s\n", verdict.Head)
		}
	}
	return nil
}

func auditList(ctx context.Context, p *program, args []string) error {
	f := p.adminFlags("audit list", "", "Lists entries of the audit log, the oldest first.")
	after := f.set.Int64("after", 0, "the number of the entry after which to begin")
	limit := f.set.Int("limit", 100, "how many")
	if _, err := parseFlags(f.set, args, 0); err != nil {
		return err
	}
	q := url.Values{"after": {strconv.FormatInt(*after, 10)}, "limit": {strconv.Itoa(*limit)}}
	return p.list(ctx, f, hearthV1+"/audit", q, "entries", []column{
		{"ENTRY", "seq"}, {"TIME", "ts"}, {"WHO", "actor"}, {"ACTION", "action"}, {"TARGET", "target"}, {"REASON", "reason"},
	})
}
