// The threads of V8, which compile and collect garbage, give way sooner to whoever serves.
//
// With few CPUs one of them often has the CPU that the thread which serves, a device call or the program itself woke up on. Linux
// then lets it go on to the next tick of the clock (4 ms, say) although another CPU is idle: the slowest in a hundred of short calls
// are those that had to wait for that. Who has a longer time slice than the one that wakes up gives way before it (since Linux 6.12),
// unless the other has had more than its fair share; and the other's share is more than it ever has when this one counts for less.
// One of the two alone changes little. What they gained together is in docs/performance.md. They have a tenth of a CPU
// that somebody else wants all of, so that what waits for the collector does not wait forever.

import { readdirSync } from "node:fs";
import { endianness } from "node:os";
import koffi from "koffi";

/** Threads of V8's: so many work, and one keeps the time for them. Node starts them before all others. */
export const WORKING_THREADS = 4;
const HELPERS = WORKING_THREADS + 1;
/** The longest slice there is. */
const SLICE_NS = 100_000_000;
/** Added to the nice value that the process was started with. */
const NICER_BY = 10;
const NICE_MAX = 19;
/** Numbers of sched_setattr(2) and sched_getattr(2). */
const SYSTEM_CALLS: Partial<Record<NodeJS.Architecture, readonly [set: number, get: number]>> = {
  x64: [314, 315],
  arm64: [274, 275],
  riscv64: [274, 275],
};
/** `struct sched_attr` as it was first, and where its fields are. */
const ATTRIBUTES_BYTES = 48;
const POLICY_AT = 4;
const NICE_AT = 16;
const RUNTIME_AT = 24;
const SCHED_OTHER = 0;

/**
 * Gives V8's threads in this process long time slices and less weight; it was started with WORKING_THREADS of them. Where the system
 * knows no such thing, or the process was started with another policy than the ordinary one, nothing happens.
 */
export function letHelpersGiveWay(): void {
  const numbers = SYSTEM_CALLS[process.arch];
  if (numbers === undefined) return;
  const [set, get] = numbers;
  const libc = koffi.load(null);
  const setAttributes = libc.func("long syscall(long number, int thread, const void *attributes, int flags)");
  const getAttributes = libc.func("long syscall(long number, int thread, void *attributes, int size, int flags)");
  const bytes = new Uint8Array(ATTRIBUTES_BYTES);
  const attributes = new DataView(bytes.buffer);
  const isLittleEndian = endianness() === "LE";
  // In the order in which they were started; the first is the one that runs this.
  const threads = readdirSync("/proc/self/task")
    .map(Number)
    .sort((a, b) => a - b);
  for (const thread of threads.slice(1, 1 + HELPERS)) {
    if (getAttributes(get, thread, bytes, ATTRIBUTES_BYTES, 0) !== 0) return;
    if (attributes.getUint32(POLICY_AT, isLittleEndian) !== SCHED_OTHER) return;
    const nice = attributes.getInt32(NICE_AT, isLittleEndian);
    attributes.setInt32(NICE_AT, Math.min(nice + NICER_BY, NICE_MAX), isLittleEndian);
    attributes.setBigUint64(RUNTIME_AT, BigInt(SLICE_NS), isLittleEndian);
    setAttributes(set, thread, bytes, 0);
  }
}
