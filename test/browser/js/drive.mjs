// The scenario of two people at their browsers. The server is at HEARTH_URL, with open
// registration; the page is at HEARTH_PAGE. report.mjs says what is written to standard output.

import { run } from "./report.mjs";
import { world } from "./world.mjs";
import { talk } from "./talk.mjs";
import { media } from "./media.mjs";
import { live } from "./live.mjs";
import { rooms } from "./rooms.mjs";
import { secret } from "./secret.mjs";

const good = await run({ ...talk, ...live, ...media, ...rooms, ...secret });
await Promise.allSettled([world.alice, world.bob].map((p) => p?.close()));
process.exit(good ? 0 : 1);
