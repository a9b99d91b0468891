// A day of two people at their clients. The server is at HEARTH_URL; registration is
// open. report.mjs says what is written to standard output.

import { talk } from "./talk.mjs";
import { back } from "./back.mjs";
import { run } from "./report.mjs";

process.exit((await run({ ...talk, ...back })) ? 0 : 1);
