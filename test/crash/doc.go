// Package crash kills the server with SIGKILL while users send and sync, again and
// again, and then compares what was promised with what is there.
//
//	senders ──▶ every 200: transaction id → event id   ┐
//	readers ──▶ every timeline, gaps filled            ├──▶ History ──▶ Check
//	the end ──▶ /messages both ways, a fresh /sync     ┘
//
// A sender repeats a request with the same transaction id until it gets a 200, and
// now and then repeats an old one. A reader keeps its next_batch only after it has
// processed the answer, and sometimes dies before it keeps it. Check is a pure
// function, with tests of its own on histories that are wrong.
package crash
