// What all operations of this transport have: the filesystem they ask, the user in whose name, and how they call back.

import { Errno, FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import type { Caller, FileSystemRequests } from "../../posix/requests.ts";
import { NameError } from "./paths.ts";

/** Calls back once with the outcome of `work`: 0 and its value, or the negative errno of what it threw. */
export type Finish = <T>(work: () => Eventually<T>, done: (errno: number, value?: T) => void) => void;

export interface NativeContext {
  readonly fs: FileSystemRequests;
  readonly caller: Caller;
  readonly finish: Finish;
}

/** `onFault` is told of everything thrown that carries no errno; that is EIO to the caller. */
export function finishWith(onFault: (error: unknown) => void): Finish {
  return (work, done) => {
    new Promise<Awaited<ReturnType<typeof work>>>((resolve) => resolve(work() as never)).then(
      (value) => done(0, value),
      (error: unknown) => {
        const expected = error instanceof FsError || error instanceof NameError;
        if (!expected) onFault(error);
        done(expected ? -error.errno : -Errno.EIO);
      },
    );
  };
}

/** The same bytes without Buffer's own ideas (its `slice` does not copy, and libfuse takes this memory back). */
export function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
