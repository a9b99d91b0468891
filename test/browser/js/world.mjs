// Who is there, and what they share.

export const url = process.env.HEARTH_URL;
export const page = process.env.HEARTH_PAGE;

export const world = {
    alice: undefined, bob: undefined, // people
    room: undefined, space: undefined, // their ids
};
