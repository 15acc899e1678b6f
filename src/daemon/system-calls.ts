// System calls that Node does not offer and the daemon and its commands need.

import koffi from "koffi";
import { systemError } from "../fuse/kernel/system-error.ts";

const libc = koffi.load(null);
const syncfs = libc.func("int syncfs(int fd)") as (fd: number) => number;
const setrlimit = libc.func("int setrlimit(int resource, void *limits)") as (
  resource: number,
  limits: BigUint64Array,
) => number;
const RLIMIT_DATA = 2;

/** syncfs(2): the kernel writes back every dirty page of the filesystem `fd` is on. Throws SystemError. */
export function syncFilesystem(fd: number): void {
  if (syncfs(fd) !== 0) throw systemError("syncfs");
}

/** setrlimit(2): this process can have at most this much memory of its own. Throws SystemError. */
export function limitMemory(bytes: number): void {
  if (setrlimit(RLIMIT_DATA, BigUint64Array.of(BigInt(bytes), BigInt(bytes))) !== 0) throw systemError("setrlimit");
}
