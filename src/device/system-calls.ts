// The few system calls Node has no function for, through koffi: flock, fallocate, posix_fadvise, sync_file_range, lseek, ioctl, statx.
// Loaded at the first use, so that programs which open no device do not pay for it.

import { constants, endianness } from "node:os";
import { type Koffi, loadKoffi, type NativeFunction } from "../base/koffi.ts";

const LITTLE_ENDIAN = endianness() === "LE";
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;
const FALLOC_FL_ZERO_RANGE = 0x10;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const POSIX_FADV_DONTNEED = 4;
const SYNC_FILE_RANGE_WRITE = 2;
const AT_EMPTY_PATH = 0x1000;
/** What is known here already: nobody is asked, so that the call can't hang. */
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_NLINK = 0x004;
const STATX_SIZE = 0x200;
/** Of `struct statx`, and where these are in it. */
const STATX_BYTES = 256;
const STATX_NLINK_AT = 16;
const STATX_SIZE_AT = 40;
const BLKROGET = 0x125e;
const BLKGETSIZE64 = 0x8008_1272;

interface SystemCalls {
  readonly koffi: Koffi;
  readonly flock: NativeFunction;
  readonly fallocate: NativeFunction;
  readonly fadvise: NativeFunction;
  readonly syncFileRange: NativeFunction;
  readonly lseek: NativeFunction;
  readonly ioctl: NativeFunction;
  readonly statx: NativeFunction;
}

let loaded: SystemCalls | undefined;

function systemCalls(): SystemCalls {
  if (loaded === undefined) {
    const koffi = loadKoffi();
    const libc = koffi.load(null);
    loaded = {
      koffi,
      flock: libc.func("int flock(int fd, int operation)"),
      fallocate: libc.func("int fallocate(int fd, int mode, int64_t offset, int64_t length)"),
      fadvise: libc.func("int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)"),
      syncFileRange: libc.func("int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)"),
      lseek: libc.func("int64_t lseek(int fd, int64_t offset, int whence)"),
      // Declared with the one argument it is given here: a variadic function can't be called on another thread.
      ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
      statx: libc.func("int statx(int fd, const void *path, int flags, unsigned int mask, void *result)"),
    };
  }
  return loaded;
}

/** The error's name (EIO, …) for an errno. */
function errnoName(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** Makes a call on one of libuv's threads, as any call on a device may hang. Gives its result, or the error's name if that is -1. */
function resultOf(call: NativeFunction, ...args: unknown[]): Promise<number | string> {
  const { koffi } = systemCalls();
  return new Promise((resolve, reject) => {
    call.async(...args, (error: unknown, result: number) => {
      if (error !== null && error !== undefined) reject(error instanceof Error ? error : new Error("the call failed"));
      // The errno is that of this very call: koffi brings it along from the thread that made it.
      else resolve(result === -1 ? errnoName(koffi.errno()) : result);
    });
  });
}

/** Makes a call that gives nothing; undefined on success, else the error's name. */
async function called(call: NativeFunction, ...args: unknown[]): Promise<string | undefined> {
  const result = await resultOf(call, ...args);
  return typeof result === "string" ? result : undefined;
}

/**
 * Locks the open file description of `fd` without waiting for whoever has it; undefined on success, else the error's name.
 * The lock goes when the last descriptor of the description is closed, also by the death of the process.
 */
export function tryLock(fd: number, exclusive: boolean): Promise<string | undefined> {
  return called(systemCalls().flock, fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
}

/** Gives the lock of an open file description back at once, though others have descriptors of it. */
export async function unlock(fd: number): Promise<void> {
  await called(systemCalls().flock, fd, LOCK_UN);
}

/** Gives the bytes of a range back to whoever lent them; resolves whether or not that is supported. */
export function punchHole(fd: number, offsetBytes: number, lengthBytes: number): Promise<void> {
  return new Promise((resolve) => {
    const mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    systemCalls().fallocate.async(fd, mode, offsetBytes, lengthBytes, () => resolve());
  });
}

/**
 * Makes a range of a file or block device read as zero without writing zeros: as a hole, or, if it is to keep its room, by marking
 * it. Gives the error's name where that can't be done (EOPNOTSUPP and others).
 */
export function zeroByMarking(
  fd: number,
  offsetBytes: number,
  lengthBytes: number,
  keepRoom: boolean,
): Promise<string | undefined> {
  const mode = FALLOC_FL_KEEP_SIZE | (keepRoom ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
  return called(systemCalls().fallocate, fd, mode, offsetBytes, lengthBytes);
}

/** Where the first data, or the first hole, at or after a place of an open file is; undefined when there is none any more. */
export async function seekFor(what: "data" | "hole", fd: number, offsetBytes: number): Promise<number | undefined> {
  const result = await resultOf(systemCalls().lseek, fd, offsetBytes, what === "data" ? SEEK_DATA : SEEK_HOLE);
  if (typeof result === "number") return result;
  if (result === "ENXIO") return undefined;
  throw Object.assign(new Error(`lseek: ${result}`), { code: result });
}

/**
 * Has the kernel begin to write back what is dirty in all of the file. `drop`: and drop what it wrote back before, where blocks are
 * cached above us: twice is once too often, and memory never used before costs more than the copying into it. Resolves when it
 * has, whether or not it can.
 */
export function beginWriteBack(fd: number, drop: boolean): Promise<void> {
  const { fadvise, syncFileRange } = systemCalls();
  return new Promise((resolve) => {
    if (drop) fadvise.async(fd, 0, 0, POSIX_FADV_DONTNEED, () => resolve());
    else syncFileRange.async(fd, 0, 0, SYNC_FILE_RANGE_WRITE, () => resolve());
  });
}

export interface FileSize {
  /** Bytes. */
  readonly size: number;
  /** Names it has. */
  readonly nlink: number;
}

const EMPTY_PATH = new Uint8Array(1);
const statxResult = new DataView(new ArrayBuffer(STATX_BYTES));
const statxBytes = new Uint8Array(statxResult.buffer);

/**
 * What the kernel knows of an open file without asking a disk or a server, so that it can be asked for on the way of every flush:
 * no thread has to wake up for it. Nor is its time of change looked at, after which the kernel would have to write a finer one
 * with the next write. Undefined where that can't be asked for.
 */
export function knownSize(fd: number): FileSize | undefined {
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (systemCalls().statx(fd, EMPTY_PATH, flags, STATX_NLINK | STATX_SIZE, statxBytes) !== 0) return undefined;
  const sizeHigh = statxResult.getUint32(STATX_SIZE_AT + 4, LITTLE_ENDIAN);
  return {
    size: sizeHigh * 2 ** 32 + statxResult.getUint32(STATX_SIZE_AT, LITTLE_ENDIAN),
    nlink: statxResult.getUint32(STATX_NLINK_AT, LITTLE_ENDIAN),
  };
}

/** Size of an open block device. */
export async function blockDeviceBytes(fd: number): Promise<number> {
  const size = new BigUint64Array(1);
  const code = await called(systemCalls().ioctl, fd, BLKGETSIZE64, size);
  if (code !== undefined) throw Object.assign(new Error("BLKGETSIZE64 failed"), { code });
  return Number(size[0]);
}

/** Whether an open block device takes no writes. Many open for writing all the same, and refuse only the writes themselves. */
export async function isReadOnlyBlockDevice(fd: number): Promise<boolean> {
  const readOnly = new Int32Array(1);
  const code = await called(systemCalls().ioctl, fd, BLKROGET, readOnly);
  if (code !== undefined) throw Object.assign(new Error("BLKROGET failed"), { code });
  return readOnly[0] !== 0;
}
