// The system call that `h2ts sync` needs and Node does not offer.

import koffi from "koffi";
import { systemError } from "../fuse/kernel/system-error.ts";

const syncfs = koffi.load(null).func("int syncfs(int fd)") as (fd: number) => number;

/** syncfs(2): the kernel writes back every dirty page of the filesystem `fd` is on. Throws SystemError. */
export function syncFilesystem(fd: number): void {
  if (syncfs(fd) !== 0) throw systemError("syncfs");
}
