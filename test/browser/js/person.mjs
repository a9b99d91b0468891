// A person at a browser of their own, which keeps its data in a fresh directory.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { patience, waiting } from "./report.mjs";

const flags = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];

export class Person {
    /** Opens a browser with the page. */
    static async open(name, pageURL) {
        const person = new Person();
        person.name = name;
        person.console = []; // errors that the page told
        person.directory = await mkdtemp(join(tmpdir(), `hearth-browser-${name}-`));
        person.browser = await chromium.launchPersistentContext(person.directory, {
            executablePath: process.env.HEARTH_CHROMIUM ?? "/usr/bin/chromium",
            headless: true,
            args: flags,
            timeout: 2 * patience,
        });
        person.browser.setDefaultTimeout(patience);
        [person.page] = person.browser.pages();
        person.page.on("pageerror", (e) => person.console.push(String(e)));
        person.page.on("console", (m) => m.type() === "error" && person.console.push(m.text()));
        await person.page.goto(pageURL);
        await person.until("the page to load", () => Boolean(window.app));
        return person;
    }

    /** Closes the browser and removes what it kept. */
    async close() {
        await this.browser?.close();
        if (this.directory) await rm(this.directory, { recursive: true, force: true, maxRetries: 3 });
    }

    /** Runs a function in the page: f(app, argument). */
    async run(f, argument) {
        let timer;
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(`${this.name}: waited ${patience} ms for ${f}`)), patience);
        });
        const source = `(argument) => (${f})(window.app, argument)`;
        try {
            return await Promise.race([this.page.evaluate(`(${source})(${JSON.stringify(argument ?? null)})`), late]);
        } catch (e) {
            throw new Error(`${this.name}: ${e.message}; ${await this.trouble()}`);
        } finally {
            clearTimeout(timer);
        }
    }

    /** Waits until a function of the page, f(app, argument), returns something true. */
    async until(what, f, argument) {
        const start = Date.now();
        let last;
        for (;;) {
            try {
                const value = await this.page.evaluate(`((argument) => (${f})(window.app, argument))(${JSON.stringify(argument ?? null)})`);
                if (value) {
                    waiting(`${this.name}: ${what}`, Date.now() - start);
                    return value;
                }
                last = undefined;
            } catch (e) {
                last = e; // it has not happened yet
            }
            if (Date.now() - start > patience) {
                throw new Error(`${this.name} waited ${patience} ms for ${what}; ${last ?? ""} ${await this.trouble()}`);
            }
            await new Promise((resolve) => setTimeout(resolve, 30));
        }
    }

    /** Waits until a selector finds an element whose text has all of the words. */
    async sees(selector, ...words) {
        await this.until(`${selector} with ${JSON.stringify(words)}`, (_, [selector, words]) =>
            [...document.querySelectorAll(selector)].some((e) => words.every((w) => e.textContent.includes(w))), [selector, words]);
    }

    /** Waits until a room of the list has these data attributes. */
    async roomShows(roomId, data) {
        await this.until(`the list to show ${JSON.stringify(data)}`, (_, [roomId, data]) => {
            const line = [...document.querySelectorAll("#rooms li")].find((e) => e.dataset.id === roomId);
            return line && Object.entries(data).every(([k, v]) => line.dataset[k] === String(v));
        }, [roomId, data]);
    }

    async show(roomId) {
        await this.until("the room to be there", (app, roomId) => app.client.getRoom(roomId), roomId);
        await this.run((app, roomId) => app.show(roomId), roomId);
    }

    /** Sends content and returns the event's id. */
    async send(roomId, content, threadId = null) {
        return await this.run(async (app, [roomId, threadId, content]) =>
            (await app.client.sendMessage(roomId, threadId, content)).event_id, [roomId, threadId, content]);
    }

    async say(roomId, body) {
        return await this.send(roomId, { msgtype: "m.text", body });
    }

    async trouble() {
        const inside = await this.page.evaluate("JSON.stringify(window.app?.trouble())").catch(String);
        return `the page: ${inside}; its console: ${JSON.stringify(this.console.slice(-6))}`;
    }
}

/** The line of a message. */
export const line = (eventId) => `#timeline li[data-id="${eventId}"]`;
