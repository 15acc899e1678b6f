// Opens a target by its path: an image file or a block device, told apart by what the path is, locked before use.
// Invariant I11: one writer or several readers; the lock belongs to the open descriptor and dies with it, or with the copy of
// it that somebody keeps for the process after us.

import { close, constants, fstat, open, stat, type BigIntStats } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { DeviceError, type DeviceOperation } from "./device.ts";
import { FileNode } from "./file-node.ts";
import { deviceIdentity, deviceIncarnation } from "./identity.ts";
import { descriptorKeeper } from "./kept.ts";
import { OpenError } from "./open-error.ts";
import { type OtherName, otherNames } from "./other-names.ts";
import { blockDeviceBytes, isReadOnlyBlockDevice, tryLock, unlock } from "./system-calls.ts";

/** So long is waited for a descriptor kept by another process to be closed. */
const RELEASE_TRIES = 40;
const RELEASE_TRY_MS = 25;
/** Whoever only looks whether a place is in use, as we do ourselves and udev does, has it for a moment. */
const LOOK_TRIES = 10;

const openFile = promisify(open);
const closeFile = promisify(close);
const statPath = promisify(stat);
const statFile = (fd: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) =>
    fstat(fd, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats))),
  );

export interface OpenNodeOptions {
  readonly writable: boolean;
  /** Nobody above caches what is read: the kernel is to keep what was written back. */
  readonly keepsCached?: boolean;
}

/** Opens and locks the device at `path`. Rejects with DeviceError; a lock held by another has the code EBUSY. */
export async function openNode(path: string, options: OpenNodeOptions): Promise<FileNode> {
  const { writable, keepsCached = false } = options;
  const fd = await openLocked(path, writable);
  try {
    const stats = await statFile(fd);
    const sizeBytes = stats.isBlockDevice() ? await blockDeviceBytes(fd) : Number(stats.size);
    const identity = deviceIdentity(stats);
    const keeper = descriptorKeeper();
    keeper.opened(identity, fd);
    const letGo = async (): Promise<void> => {
      // Others have a descriptor of ours, which they close when they come to it: the lock would last until then.
      if (keeper.closing(identity)) await unlock(fd);
    };
    const incarnation = deviceIncarnation(stats);
    return new FileNode(path, fd, { sizeBytes, identity, incarnation, writable, keepsCached, letGo });
  } catch (error) {
    await closeFile(fd);
    throw failure(path, "open", error);
  }
}

async function openLocked(path: string, writable: boolean): Promise<number> {
  let flags = (writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK;
  let fd = -1;
  try {
    const identity = deviceIdentity(await statPath(path, { bigint: true }));
    const kept = descriptorKeeper().takeOver(identity);
    fd = kept ?? (await openFile(path, flags));
    const stats = await statFile(fd);
    if (kept !== undefined) {
      // Opened with all the care below, and locked, by the process before us.
    } else if (stats.isBlockDevice() && writable) {
      if (await isReadOnlyBlockDevice(fd)) throw Object.assign(new Error("read-only"), { code: "EROFS" });
      // O_EXCL keeps kernel filesystems and volume managers away. It means something on block devices only.
      await closeFile(fd);
      fd = -1;
      flags |= constants.O_EXCL;
      fd = await openExclusively(path, flags, identity);
    } else if (!stats.isBlockDevice() && !stats.isFile()) {
      throw new OpenError(
        path,
        "open",
        "EINVAL",
        "is neither a file nor a block device; give an image file or a block device",
      );
    }
    const refusal = await tryLock(fd, writable);
    if (refusal !== undefined)
      throw Object.assign(new Error(refusal), { code: refusal === "EAGAIN" ? "EBUSY" : refusal });
    // Whoever opens it by another name at this moment looks for ours, which is locked: not both get it.
    if (kept === undefined) await refuseOtherNames(path, identity, writable);
    return fd;
  } catch (error) {
    if (fd >= 0) await closeFile(fd);
    throw failure(path, (error as NodeJS.ErrnoException).code === "EBUSY" ? "lock" : "open", error);
  }
}

/** A loop device, its partitions and the file that it lies on have locks of their own. Throws OpenError if another name is in use. */
async function refuseOtherNames(path: string, identity: string, writable: boolean): Promise<void> {
  for (const other of await otherNames(path, identity)) {
    for (let triesLeft = LOOK_TRIES; ; triesLeft--) {
      const refusal = await refusalOf(other, writable);
      if (refusal === undefined) break;
      if (triesLeft === 0) throw new OpenError(path, "lock", "EBUSY", refusal);
      await sleep(RELEASE_TRY_MS);
    }
  }
}

/** Tries whether the device could be locked by this name. */
async function refusalOf({ path, isBlock, isWithin }: OtherName, writable: boolean): Promise<string | undefined> {
  const inUse = `already in use as ${path} (by a mount or another tool)`;
  // The system knows a disk as used by what has a partition of it, which need not be where we are.
  const exclusive = isBlock && isWithin && writable ? constants.O_EXCL : 0;
  let fd: number;
  try {
    fd = await openFile(path, constants.O_RDONLY | constants.O_NONBLOCK | exclusive);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EBUSY") return inUse;
    const isHidden = code === "EACCES" || code === "EPERM";
    // Whoever was let to a device that lies on this one may use that, too.
    return isHidden && isWithin && writable
      ? `may be in use as ${path}, which can't be looked at (permission denied)`
      : undefined;
  }
  try {
    const refusal = await tryLock(fd, writable);
    return refusal === "EAGAIN" || refusal === "EBUSY" ? inUse : undefined;
  } finally {
    await closeFile(fd);
  }
}

/** What O_EXCL gives lasts until the last descriptor is closed, also by one who kept it for us: a block device closed just now. */
async function openExclusively(path: string, flags: number, identity: string): Promise<number> {
  for (let triesLeft = RELEASE_TRIES; ; triesLeft--) {
    try {
      return await openFile(path, flags);
    } catch (error) {
      const isOurs = (error as NodeJS.ErrnoException).code === "EBUSY" && descriptorKeeper().hasReleased(identity);
      if (!isOurs || triesLeft === 0) throw error;
    }
    await sleep(RELEASE_TRY_MS);
  }
}

const CLEAR: Readonly<Record<string, string>> = {
  EBUSY: "already in use (by a mount or another tool)",
  ENOENT: "no such file or device",
  EACCES: "permission denied",
  EROFS: "is on a read-only filesystem or medium",
  EISDIR: "is a directory; give an image file or a block device",
  ENOTDIR: "a part of the path is not a directory",
};

function failure(path: string, operation: DeviceOperation, error: unknown): DeviceError {
  if (error instanceof DeviceError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new OpenError(path, operation, code ?? "EIO", CLEAR[code ?? ""] ?? message);
}
