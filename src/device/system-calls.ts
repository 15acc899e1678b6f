// The few system calls Node has no function for, through koffi: flock, fallocate, posix_fadvise, ioctl. Loaded at the first use, so
// that programs which open no device do not pay for it.

import { createRequire } from "node:module";
import { constants } from "node:os";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;
const POSIX_FADV_DONTNEED = 4;
const BLKGETSIZE64 = 0x8008_1272;

interface NativeFunction {
  (...args: unknown[]): number;
  async(...args: unknown[]): void;
}
interface Koffi {
  load(path: string | null): { func(declaration: string): NativeFunction };
  errno(value?: number): number;
}
interface SystemCalls {
  readonly koffi: Koffi;
  readonly flock: NativeFunction;
  readonly fallocate: NativeFunction;
  readonly fadvise: NativeFunction;
  readonly ioctl: NativeFunction;
}

let loaded: SystemCalls | undefined;

function systemCalls(): SystemCalls {
  if (loaded === undefined) {
    const koffi = createRequire(import.meta.url)("koffi") as Koffi;
    const libc = koffi.load(null);
    loaded = {
      koffi,
      flock: libc.func("int flock(int fd, int operation)"),
      fallocate: libc.func("int fallocate(int fd, int mode, int64_t offset, int64_t length)"),
      fadvise: libc.func("int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)"),
      // Declared with the one argument it is given here: a variadic function can't be called on another thread.
      ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
    };
  }
  return loaded;
}

/** The error's name (EIO, …) for an errno. */
function errnoName(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** Makes a call on one of libuv's threads, as any call on a device may hang; undefined on success, else the error's name. */
function called(call: NativeFunction, ...args: unknown[]): Promise<string | undefined> {
  const { koffi } = systemCalls();
  return new Promise((resolve, reject) => {
    call.async(...args, (error: unknown, result: number) => {
      if (error !== null && error !== undefined) reject(error instanceof Error ? error : new Error("the call failed"));
      // The errno is that of this very call: koffi brings it along from the thread that made it.
      else resolve(result === 0 ? undefined : errnoName(koffi.errno()));
    });
  });
}

/**
 * Locks the open file description of `fd` without waiting for whoever has it; undefined on success, else the error's name.
 * The lock goes when the last descriptor of the description is closed, also by the death of the process.
 */
export function tryLock(fd: number, exclusive: boolean): Promise<string | undefined> {
  return called(systemCalls().flock, fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
}

/** Gives the bytes of a range back to whoever lent them; resolves whether or not that is supported. */
export function punchHole(fd: number, offsetBytes: number, lengthBytes: number): Promise<void> {
  return new Promise((resolve) => {
    const mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    systemCalls().fallocate.async(fd, mode, offsetBytes, lengthBytes, () => resolve());
  });
}

/**
 * Has the kernel begin to write back what is dirty in all of the file, and drop what it wrote back before: blocks are cached
 * above us, twice is once too often, and memory never used before costs more than the copying into it. Resolves when it has,
 * whether or not it can.
 */
export function beginWriteBack(fd: number): Promise<void> {
  return new Promise((resolve) => {
    systemCalls().fadvise.async(fd, 0, 0, POSIX_FADV_DONTNEED, () => resolve());
  });
}

/** Size of an open block device. */
export async function blockDeviceBytes(fd: number): Promise<number> {
  const size = new BigUint64Array(1);
  const code = await called(systemCalls().ioctl, fd, BLKGETSIZE64, size);
  if (code !== undefined) throw Object.assign(new Error("BLKGETSIZE64 failed"), { code });
  return Number(size[0]);
}
