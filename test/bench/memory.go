package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth/test/harness"
)

// idleMembers is how many members the rooms of the memory test have.
const idleMembers = 4

// idleMessages is how many messages are in each of them.
const idleMessages = 5

// memory measures what is resident at rest, with rooms, and with long-polls.
func (b *bench) memory() []figure {
	time.Sleep(b.settle)
	figures := []figure{below("resident at rest", "MB", memory(b.t, b.server, "VmRSS"), 60)}
	b.register()
	b.t.say("making %d rooms of %d members and %d messages", b.idleRooms, idleMembers, idleMessages)
	b.together(setupWorkers, b.idleRooms, b.idleRoom)
	time.Sleep(b.settle)
	figures = append(figures, below(fmt.Sprintf("resident with %d rooms", b.idleRooms), "MB", memory(b.t, b.server, "VmRSS"), 100))
	b.t.say("opening %d long-polls", b.polls)
	end := b.poll()
	defer end()
	time.Sleep(b.settle)
	return append(figures, plain(fmt.Sprintf("  and %d long-polls", b.polls), "MB", memory(b.t, b.server, "VmRSS")))
}

// idleRoom makes a room in which a little was said.
func (b *bench) idleRoom(i int) error {
	var people []*harness.Client
	for j := range idleMembers {
		people = append(people, b.users[(i+j)%len(b.users)])
	}
	room, err := b.room(fmt.Sprintf("Room %d", i), people)
	if err != nil {
		return err
	}
	for j := range idleMessages {
		content := map[string]string{"msgtype": "m.text", "body": strings.Repeat(".", b.bodyBytes)}
		if _, err := people[j%len(people)].Send(room, "m.room.message", fmt.Sprintf("m%d-%d", i, j), content); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// poll has every user wait for something new; the result ends that.
func (b *bench) poll() (end func()) {
	conns := make([]*conn, b.polls)
	tokens := make([]string, b.polls)
	b.together(setupWorkers, b.polls, func(i int) error {
		c, err := dial(b.server.URL(), b.users[i].Token)
		if err != nil {
			return err
		}
		conns[i] = c
		tokens[i], err = c.sync("", 0)
		return err
	})
	var wg sync.WaitGroup
	for i, c := range conns {
		// They end with their connections: nothing happens in the meantime.
		wg.Go(func() { _, _ = c.sync(tokens[i], 10*time.Minute) })
	}
	return func() {
		for _, c := range conns {
			c.close()
		}
		wg.Wait()
	}
}
