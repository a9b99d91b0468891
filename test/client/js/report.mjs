// What the script tells its caller: one JSON object a line on standard output.
//   {"plan": ["name", …]}                          the steps, in order
//   {"step": "name", "ms": 12}                     a step that succeeded
//   {"step": "name", "ms": 12, "error": "…"}       a step that failed; the ones after it are not run
//   {"done": true}                                 the end

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** The time that anything may take that a client waits for, in ms. */
export const patience = Number(process.env.HEARTH_CLIENT_PATIENCE_MS ?? 15_000);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Waits until probe returns something true, and returns it. A probe that throws
 * has not happened yet.
 * @param what - what is waited for, for the error
 * @param state - what there is instead, for the error
 */
export async function until(what, probe, state = () => undefined) {
    const end = Date.now() + patience;
    let last;
    for (;;) {
        try {
            const value = await probe();
            if (value) return value;
            last = undefined;
        } catch (e) {
            last = e;
        }
        if (Date.now() > end) {
            const found = JSON.stringify(state());
            throw new Error(`waited ${patience} ms for ${what}` + (found ? `; there is ${found}` : "") + (last ? ` (${last})` : ""));
        }
        await sleep(10);
    }
}

/** Ends a promise that takes too long. */
export function within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited ${patience} ms for ${what}`)), patience);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Checks that two values are the same when written as JSON. */
export function same(what, got, want) {
    const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
    if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

/** Checks that something holds. */
export function check(what, holds) {
    if (!holds) throw new Error(what);
}

/** Runs the steps, an object of async functions, and returns whether all succeeded. */
export async function run(steps) {
    say({ plan: Object.keys(steps) });
    for (const [step, f] of Object.entries(steps)) {
        const start = Date.now();
        try {
            await f();
            say({ step, ms: Date.now() - start });
        } catch (e) {
            say({ step, ms: Date.now() - start, error: String(e?.stack ?? e) });
            return false;
        }
    }
    say({ done: true });
    return true;
}
