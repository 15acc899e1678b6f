// Mounts and unmounts the kernel transport. Mounting yields the /dev/fuse descriptor the filesystem is served through; the
// process that mounts and the one that serves need not be the same (a descriptor can be sent).

import { closeSync, constants, openSync, statSync, writeFileSync } from "node:fs";
import koffi from "koffi";
import { type SystemError, systemError } from "../../base/system-error.ts";
import { Limit } from "./abi.ts";
import { fusermount, fuserunmount } from "./fusermount.ts";
import { fusermountWords, mountFlags, REMOUNT_FLAG } from "./mount-options.ts";
import { FILESYSTEM_TYPE, mountAt, mountPointPath } from "./mountinfo.ts";

const MNT_FORCE = 1;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const F_GETFL = 3;
const F_SETFL = 4;
const READ_AHEAD_KIB = 1024;

const libc = koffi.load(null);
const mountCall = libc.func(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
) as (source: string, target: string, type: string, flags: number, data: string | null) => number;
const umount2 = libc.func("int umount2(const char *target, int flags)") as unknown as {
  async(target: string, flags: number, done: (error: unknown, result: number) => void): void;
};
const fcntl = libc.func("int fcntl(int fd, int command, ...)") as (
  fd: number,
  command: number,
  ...rest: unknown[]
) => number;

export interface MountRequest {
  /** What mount(8) and df show as the source. */
  readonly source: string;
  readonly directory: string;
  /** Generic option words: ro, noexec, suid, noatime, … */
  readonly options?: readonly string[];
  /** Let other users in, permissions checked by the kernel. Default: yes for root, no for others (fuse.conf forbids it). */
  readonly allowOther?: boolean;
}

export interface MountedDevice {
  /** /dev/fuse, non-blocking, close-on-exec. */
  readonly fd: number;
  /** Absolute path of the mount point. */
  readonly directory: string;
}

/** True when this process mounts by itself; otherwise fusermount3 does, which opens /dev/fuse itself. */
export function mountsByItself(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * Mounts as root does, or through fusermount3 when we are not root. Returns before anybody serves. Root may give `device`,
 * a descriptor of {@link openDevice}, so that whoever is to serve can have it before anything is mounted.
 */
export function mount(request: MountRequest, device?: number): MountedDevice {
  const directory = mountPointPath(request.directory);
  if (!statSync(directory).isDirectory()) throw new Error(`${request.directory} is not a directory`);
  const fd = mountsByItself() ? mountPrivileged(request, directory, device) : mountUnprivileged(request, directory);
  raiseReadAhead(directory);
  return { fd, directory };
}

function mountPrivileged(request: MountRequest, directory: string, device: number | undefined): number {
  const flags = mountFlags(request.options ?? []);
  const fd = device ?? openDevice();
  const words = [`fd=${fd}`, "rootmode=40000", "user_id=0", "group_id=0", "default_permissions"];
  words.push(`max_read=${Limit.maxWriteBytes}`);
  if (request.allowOther !== false) words.push("allow_other");
  if (mountCall(request.source, directory, FILESYSTEM_TYPE, flags, words.join(",")) === 0) return fd;
  const error = systemError(`mount on ${request.directory}`);
  if (device === undefined) closeSync(fd);
  throw error;
}

/** /dev/fuse, not mounted yet. */
export function openDevice(): number {
  try {
    // Node opens everything close-on-exec.
    return openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw new Error(`/dev/fuse can't be opened (${(error as SystemError).code}): is the kernel module fuse loaded?`, {
      cause: error,
    });
  }
}

function mountUnprivileged(request: MountRequest, directory: string): number {
  // fusermount3 reads commas and backslashes in the source by itself.
  const source = request.source.replace(/[\\,]/g, "\\$&");
  const words = [`fsname=${source}`, "subtype=h2ts", "default_permissions", `max_read=${Limit.maxWriteBytes}`];
  if (request.allowOther === true) words.push("allow_other");
  words.push(...fusermountWords(request.options ?? []));
  const fd = fusermount(directory, words);
  setNonBlocking(fd);
  return fd;
}

/** For descriptors that were opened or inherited from elsewhere. */
export function setNonBlocking(fd: number): void {
  const flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, "int", flags | constants.O_NONBLOCK) < 0) throw systemError("fcntl on /dev/fuse");
}

/** Lets the kernel read ahead in requests as large as it may make them; it otherwise stays at 128 KiB. Needs root. */
function raiseReadAhead(directory: string): void {
  const entry = mountAt(directory);
  if (entry === undefined) return;
  try {
    writeFileSync(`/sys/class/bdi/${entry.device}/read_ahead_kb`, `${READ_AHEAD_KIB}\n`);
  } catch {
    // An ordinary user may not: reads are then smaller, nothing else.
  }
}

/** Changes the generic options of a live mount (mount -o remount). Root only. */
export function remount(directory: string, options: readonly string[]): void {
  const target = mountPointPath(directory);
  if (mountCall("h2ts", target, FILESYSTEM_TYPE, mountFlags(options) | REMOUNT_FLAG, null) !== 0) {
    throw systemError(`remount of ${directory}`);
  }
}

/**
 * Unmounts `directory`; `lazy` takes it out of the tree now and lets those who use it finish. Asynchronous, because the kernel
 * writes back what it still holds, which the caller may be the one to serve.
 */
export function unmount(directory: string, lazy = false): Promise<void> {
  return takeOff(directory, lazy ? MNT_DETACH : 0);
}

/** As a lazy `unmount`, of what nobody serves any more. Where root does that, requests that wait for an answer end with an error. */
export function abortAndUnmount(directory: string): Promise<void> {
  return takeOff(directory, MNT_DETACH | MNT_FORCE);
}

function takeOff(directory: string, flags: number): Promise<void> {
  const target = mountPointPath(directory);
  if (process.geteuid?.() !== 0) return fuserunmount(target, (flags & MNT_DETACH) !== 0);
  return new Promise((resolve, reject) => {
    umount2.async(target, UMOUNT_NOFOLLOW | flags, (error, result) => {
      if (error instanceof Error) reject(error);
      else if (result !== 0) reject(systemError(`unmount of ${directory}`));
      else resolve();
    });
  });
}
