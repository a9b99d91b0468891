package main

import "hearth/test/harness"

// live is the memory that the server uses, heap and stacks, without garbage, in MB
// (10^6 bytes). What is resident depends on when garbage was collected last, by more
// than a few thousand long-polls cost.
func live(t *shim, s *harness.Server) float64 {
	processes := 0.0
	for _, p := range s.Processes() {
		if p.Name != harness.NATS {
			processes++
		}
	}
	// Making the answers makes garbage. The least that is seen is right after a collection;
	// several make stacks as small as they may be.
	const collections = "go_gc_duration_seconds_count"
	least, first := 0.0, scrape(t, s)[collections]
	for {
		c := scrape(t, s)
		if used := c["go_memstats_heap_alloc_bytes"] + c["go_memstats_stack_inuse_bytes"]; least == 0 || used < least {
			least = used
		}
		if c[collections] >= first+5*processes {
			return least / 1e6
		}
	}
}
