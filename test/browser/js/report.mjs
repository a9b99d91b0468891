// What the driver tells its caller: one JSON object a line on standard output.
//   {"plan": ["name", …]}                                   the steps, in order
//   {"step": "name", "ms": 12, "waits": ["what", …]}        a step that succeeded, and what it waited for
//   {"step": "name", "ms": 12, "waits": […], "error": "…"}  a step that failed; the ones after it are not run
//   {"done": true}                                          the end

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** The time that anything may take that a page waits for, in ms. */
export const patience = Number(process.env.HEARTH_BROWSER_PATIENCE_MS ?? 15_000);

let waits = [];

/** Notes what is waited for. */
export function waiting(what, ms) {
    waits.push(`${what} (${ms} ms)`);
}

/** Checks that two values are the same when written as JSON. */
export function same(what, got, want) {
    const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
    if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

/** Runs the steps, an object of async functions, and returns whether all succeeded. */
export async function run(steps) {
    say({ plan: Object.keys(steps) });
    for (const [step, f] of Object.entries(steps)) {
        const start = Date.now();
        waits = [];
        try {
            await f();
            say({ step, ms: Date.now() - start, waits });
        } catch (e) {
            say({ step, ms: Date.now() - start, waits, error: String(e?.stack ?? e) });
            return false;
        }
    }
    say({ done: true });
    return true;
}
