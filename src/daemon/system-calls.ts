// System calls that Node does not offer and the daemon and its commands need.

import koffi from "koffi";
import { systemError } from "../base/system-error.ts";

const libc = koffi.load(null);
const syncfs = libc.func("int syncfs(int fd)") as (fd: number) => number;
type LimitCall = (resource: number, limits: BigUint64Array) => number;
const getrlimit = libc.func("int getrlimit(int resource, _Out_ void *limits)") as LimitCall;
const setrlimit = libc.func("int setrlimit(int resource, void *limits)") as LimitCall;
const setxattr = libc.func(
  "int setxattr(const char *path, const char *name, const void *value, size_t length, int flags)",
) as (path: string, name: string, value: Uint8Array, length: number, flags: number) => number;
const getxattr = libc.func(
  "int64_t getxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t length)",
) as (path: string, name: string, value: Uint8Array, length: number) => number;
const RLIMIT_DATA = 2;
/** Room for the values asked for here. */
const VALUE_BYTES = 256;

/** syncfs(2): the kernel writes back every dirty page of the filesystem `fd` is on. Throws SystemError. */
export function syncFilesystem(fd: number): void {
  if (syncfs(fd) !== 0) throw systemError("syncfs");
}

/**
 * setrlimit(2): this process can have at most this much memory of its own, or less where it is limited to less already. What can't be
 * limited goes without.
 */
export function limitMemory(bytes: number): void {
  const limits = new BigUint64Array(2);
  if (getrlimit(RLIMIT_DATA, limits) !== 0) return;
  const [, hard = 0n] = limits;
  const wanted = BigInt(bytes);
  setrlimit(RLIMIT_DATA, limits.fill(wanted < hard ? wanted : hard));
}

/** setxattr(2), symbolic links followed. Throws SystemError. */
export function setExtendedAttribute(path: string, name: string, value: string): void {
  const bytes = Buffer.from(value);
  if (setxattr(path, name, bytes, bytes.length, 0) !== 0) throw systemError("setxattr");
}

/** getxattr(2) of a short text, symbolic links followed. Throws SystemError. */
export function extendedAttribute(path: string, name: string): string {
  const bytes = Buffer.alloc(VALUE_BYTES);
  const length = getxattr(path, name, bytes, bytes.length);
  if (length < 0) throw systemError("getxattr");
  return bytes.toString("latin1", 0, length);
}
