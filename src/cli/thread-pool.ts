// A process that serves several devices by itself needs more threads than the four of libuv's pool, since one hung device may take
// as many. Their number is read when the pool begins, which is before any program of Node's can set it: so the process starts
// itself once more in its own place, with the same number, descriptors and words.

import { createRequire } from "node:module";

interface Koffi {
  load(path: string | null): { func(declaration: string): (...args: unknown[]) => number };
}

const NAME = "UV_THREADPOOL_SIZE";
// What comes from the network lies in buffers outside of V8's heap, which are freed when it collects its youngest objects. With
// little room for those it does so often, and cheaply; with much, memory outside grows until it has to collect everything.
const V8_OPTION = "--max-semi-space-size=1";
const F_SETFD = 2;

/** Returns in a process that has at least so many threads, or as many as its environment says. Where it can't begin anew (no execve), it goes on with what it has. */
export function ensureThreads(count: number): void {
  if (process.env[NAME] !== undefined) return;
  const koffi = createRequire(import.meta.url)("koffi") as Koffi;
  const libc = koffi.load(null);
  const execve = libc.func("int execve(const char *path, const char **argv, const char **envp)");
  const fcntl = libc.func("int fcntl(int fd, int command, int value)");
  // Node has these closed at a change of program.
  for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
  const words = [process.execPath, V8_OPTION, ...process.execArgv, ...process.argv.slice(1)];
  const environment = Object.entries({ ...process.env, [NAME]: String(count) }).map(
    ([name, value]) => `${name}=${value}`,
  );
  execve(process.execPath, [...words, null], [...environment, null]);
}
