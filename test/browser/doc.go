// Package browser has two people at Matrix clients in real browsers: matrix-js-sdk
// with its encryption in WebAssembly and its stores in IndexedDB, in a page of the
// test's own (js/page), in headless Chromium that a script (js/drive.mjs) drives.
//
// Each step is a subtest; its log says what was waited for. A step belongs to the file
// of its subject (js/talk.mjs, js/live.mjs, …) and looks at what the page shows.
package browser
