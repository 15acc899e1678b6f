// Asks a mount something all the time, and tells what the longest wait was since it was asked last. In a process of its own,
// by synchronous calls: nothing but the filesystem is waited for.

import { closeSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setImmediate as turn } from "node:timers/promises";

const [directory = "."] = process.argv.slice(2);
const page = new Uint8Array(4096).fill(1);
const fd = openSync(join(directory, "written"), "w");
let longestMs = 0;
let stopping = false;
process.on("message", (message) => {
  if (message === "stop") stopping = true;
  else process.send?.(longestMs);
  longestMs = 0;
});

for (let i = 0; !stopping; i++) {
  const beganMs = performance.now();
  // A name never asked for before: the kernel has to ask the worker.
  statSync(join(directory, `missing-${i}`), { throwIfNoEntry: false });
  writeSync(fd, page, 0, page.length, (i % 1024) * page.length);
  longestMs = Math.max(longestMs, performance.now() - beganMs);
  await turn();
}
closeSync(fd);
process.disconnect();
