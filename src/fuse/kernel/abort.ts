// The end of a connection that nobody will serve any more: every request ends with an error, those that the kernel makes of its
// own accord among them. Closing /dev/fuse does that only where nobody is inside a call on it; but the thread that brings a
// notice (notices.ts) is, until those requests are answered.

import { writeFileSync } from "node:fs";
import koffi from "koffi";

/** Where the kernel has a folder for each connection, of whoever mounted, if its filesystem fusectl is mounted. */
const CONNECTIONS = "/sys/fs/fuse/connections";
const POLLERR = 8;

const poll = koffi.load(null).func("int poll(void *descriptors, unsigned long count, int timeoutMs)") as (
  descriptors: Uint8Array,
  count: number,
  timeoutMs: number,
) => number;

/** Whether the kernel may still make requests through an open /dev/fuse: what is mounted is in use, and was not aborted. */
function isConnected(fuseFd: number): boolean {
  const descriptor = new Int32Array([fuseFd, 0]);
  poll(new Uint8Array(descriptor.buffer), 1, 0);
  const [, results = 0] = new Int16Array(descriptor.buffer, 4);
  return (results & POLLERR) === 0;
}

/**
 * Aborts the connection behind an open /dev/fuse; `minor` is that of the mount's device number. Does nothing where fusectl is not
 * mounted: then only root can, by the name of the mount (`abortAndUnmount`).
 */
export function abort(fuseFd: number, minor: string): void {
  // The number may be another mount's by now.
  if (!isConnected(fuseFd)) return;
  try {
    writeFileSync(`${CONNECTIONS}/${minor}/abort`, "1");
  } catch {
    // It ends when the kernel gets its answers, or never.
  }
}
