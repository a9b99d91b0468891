// The pages of the server itself in a browser: the log-in page by password and by single
// sign-on, what a link with a stranger's token does, and a stage of user-interactive
// authentication. Each step writes a line; the first that fails ends it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const url = process.env.HEARTH_URL, path = "/_matrix/static/client/login/";
const directory = await mkdtemp(join(tmpdir(), "hearth-login-"));
const browser = await chromium.launchPersistentContext(directory, {
    executablePath: process.env.HEARTH_CHROMIUM ?? "/usr/bin/chromium", headless: true,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"],
});
browser.setDefaultTimeout(20_000);

/** A window as an application opens it, which keeps what the page hands over. */
async function open(address) {
    const page = await browser.newPage();
    await page.addInitScript(() => {
        window.matrixLogin = { onLogin: (answer) => { window.answer = answer; } };
        window.onAuthDone = () => { window.done = true; };
    });
    page.on("console", (m) => m.type() === "error" && console.log("console:", m.text()));
    await page.goto(address);
    return page;
}

async function answer(page) {
    await page.waitForFunction(() => window.answer);
    return page.evaluate(() => window.answer);
}

function check(what, ok, found) {
    if (!ok) throw new Error(`${what}: ${JSON.stringify(found)}`);
    console.log("ok:", what);
}

async function password(page, text) {
    await page.fill("#user", "carol");
    await page.fill("#password", text);
    await page.click("button[type=submit]");
}

try {
    let page = await open(`${url}${path}?device_id=MINE`);
    await password(page, "wrong");
    await page.waitForFunction(() => document.getElementById("state").textContent.includes("Invalid"));
    check("a wrong password", !(await page.evaluate(() => window.answer)));
    await password(page, "password of carol");
    let got = await answer(page);
    check("a password", got.user_id === "@carol:localhost" && got.device_id === "MINE" && got.access_token, got);

    page = await open(`${url}${path}?device_id=OTHER&initial_device_display_name=%C3%84`);
    await page.click("button.sso");
    got = await answer(page);
    check("single sign-on", got.user_id === "@alice:localhost" && got.device_id === "OTHER", got);
    check("the token is not left in the address", !page.url().includes("loginToken"), page.url());

    const asking = { method: "POST", headers: { Authorization: `Bearer ${got.access_token}` } };
    const issue = async (body) => (await fetch(`${url}/_matrix/client/v1/login/get_token`, { ...asking, body: JSON.stringify(body) })).json();
    const { session } = await issue({});
    page = await open(`${url}/_matrix/client/v3/auth/m.login.sso/fallback/web?session=${session}`);
    check("what is asked", (await page.textContent("body")).includes("log you in on another device"), await page.textContent("body"));
    await page.click("button");
    await page.waitForFunction(() => window.done);
    got = await issue({ auth: { session } });
    check("a stage", got.login_token, got);

    page = await open(`${url}${path}?loginToken=${got.login_token}`);
    await page.waitForTimeout(500);
    check("a link with a token does nothing", !(await page.evaluate(() => window.answer)), await page.evaluate(() => window.answer));

    page = await open(`${url}/_matrix/client/v3/login/sso/redirect?redirectUrl=${encodeURIComponent("org.example.app://back?x=1")}`);
    const link = await page.getAttribute("a", "href");
    check("an application on a telephone", link.startsWith("org.example.app://back?x=1&loginToken="), link);
    console.log("done");
} catch (e) {
    console.log("failed:", e.message);
    process.exitCode = 1;
} finally {
    await browser.close();
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
}
