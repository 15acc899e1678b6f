// A process that works on devices by itself needs more threads than the four of libuv's pool, since one hung device may take as
// many, and then nobody else is served. Their number is read when the pool begins, which is before any program of Node's can set
// it: so the process starts itself once more in its own place, with the same number, descriptors and words.

import { loadKoffi } from "../base/koffi.ts";
import { CALLS_IN_FLIGHT_MAX } from "../device/gate.ts";
import { splitRow } from "../nbd/target.ts";

const NAME = "UV_THREADPOOL_SIZE";
const F_SETFD = 2;

/** For names of hosts, and whatever else is not a device. */
const SPARE_THREADS = 4;

/**
 * Returns in a process that has threads for all calls under way on so many nodes, or as many as its environment says, and runs with
 * these options of V8. Where it can't begin anew (no execve), it goes on with what it has.
 */
export function ensureThreads(nodes: number, v8Options: readonly string[] = []): void {
  if (process.env[NAME] !== undefined) return;
  const libc = loadKoffi().load(null);
  const execve = libc.func("int execve(const char *path, const char **argv, const char **envp)");
  const fcntl = libc.func("int fcntl(int fd, int command, int value)");
  // Node has these closed at a change of program.
  for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
  const words = [process.execPath, ...v8Options, ...process.execArgv, ...process.argv.slice(1)];
  const count = SPARE_THREADS + CALLS_IN_FLIGHT_MAX * nodes;
  const environment = Object.entries({ ...process.env, [NAME]: String(count) }).map(
    ([name, value]) => `${name}=${value}`,
  );
  execve(process.execPath, [...words, null], [...environment, null]);
}

/** As `ensureThreads`, for all nodes that these targets may be. The only one has nobody to take threads from. */
export function ensureThreadsFor(targets: readonly string[]): void {
  const nodes = targets.reduce((sum, target) => sum + splitRow(target).length, 0);
  if (nodes > 1) ensureThreads(nodes);
}
