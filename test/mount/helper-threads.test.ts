// V8's threads in the worker have long time slices and less weight, and so give way sooner to whoever wakes up; the thread that
// serves and those that make device calls have ordinary ones.

import { readdirSync } from "node:fs";
import koffi from "koffi";
import { afterEach, beforeEach, expect, it } from "vitest";
import { WORKING_THREADS } from "../../src/daemon/helper-threads.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

const SCHED_GETATTR = process.arch === "x64" ? 315 : 275;
const ATTRIBUTES_BYTES = 48;
const NICE_AT = 16;
const RUNTIME_AT = 24;

/** Of a thread: its time slice in nanoseconds, 0 where the system does not tell, and its nice value. */
function scheduling(thread: number): { sliceNs: number; nice: number } {
  const getAttributes = koffi
    .load(null)
    .func("long syscall(long number, int thread, void *result, uint size, uint flags)");
  const attributes = Buffer.alloc(ATTRIBUTES_BYTES);
  expect(getAttributes(SCHED_GETATTR, thread, attributes, ATTRIBUTES_BYTES, 0)).toBe(0);
  return { sliceNs: Number(attributes.readBigUInt64LE(RUNTIME_AT)), nice: attributes.readInt32LE(NICE_AT) };
}

it.skipIf(mountsImpossible() !== undefined || scheduling(process.pid).sliceNs === 0)(
  "V8's threads, and no others, have long time slices and less weight",
  async () => {
    await place.mounted("32M");
    await new Work(place.mnt, 11).run(4);
    const { workerPid } = await place.daemon();
    const threads = readdirSync(`/proc/${workerPid}/task`).map(Number);
    expect(threads.length).toBeGreaterThan(WORKING_THREADS + 2);
    const all = threads.sort((a, b) => a - b).map(scheduling);
    const chosen = (is: (one: { sliceNs: number; nice: number }) => boolean): number[] =>
      all.flatMap((one, index) => (is(one) ? [index] : []));
    const helpers = Array.from({ length: WORKING_THREADS + 1 }, (_, index) => index + 1);
    expect(chosen(({ sliceNs }) => sliceNs >= 100_000_000)).toEqual(helpers);
    const own = scheduling(process.pid).nice;
    expect(chosen(({ nice }) => nice === Math.min(own + 10, 19))).toEqual(helpers);
    expect(chosen(({ nice }) => nice === own).length).toBe(all.length - helpers.length);
  },
);
