// Who is there, and what they share.

import { until } from "./report.mjs";

export const url = process.env.HEARTH_URL;
if (!url) throw new Error("HEARTH_URL is not set");

export let alice, bob, room;
export const said = []; // [sender, event id, body] of the messages in the room, in order
export const both = () => [alice, bob];

/** Sets the two people. */
export function meet(a, b) {
    [alice, bob] = [a, b];
}

/** Sets the room. */
export function enter(id) {
    room = id;
}

/** Says something and remembers it. */
export async function say(person, body) {
    const id = await person.say(room, body);
    said.push([person.userId, id, body]);
    return id;
}

/** Waits until a person's client shows these messages last, and nothing else. */
export async function shows(person, want) {
    const seen = () => person.bodies(room).slice(-want.length);
    await until(`${person.userId} to see ${want.length} messages`, () => JSON.stringify(seen()) === JSON.stringify(want), seen);
}

/** Waits until a person's client has an event. */
export const event = (person, id) =>
    until(`${person.userId} to see ${id}`, () => person.room(room).findEventById(id), () => person.timeline(room).map((e) => e.getId()));

export const membership = (person, user, want) =>
    until(`${person.userId} to see ${user} as ${want}`, () => person.room(room).getMember(user)?.membership === want,
        () => person.room(room).getMember(user)?.membership);

/** The ids of list that are there more than once. */
export const repeated = (list) => list.filter((id, i) => list.indexOf(id) !== i);
