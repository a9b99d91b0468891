// What matrix-js-sdk expects and Node 20 has not got.

Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new this((a, b) => {
        resolve = a;
        reject = b;
    });
    return { promise, resolve, reject };
};

// Standard output is for our lines only.
for (const level of ["debug", "log", "info", "warn"]) console[level] = () => {};
