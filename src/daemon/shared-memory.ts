// Memory that a mount's supervisor holds for its workers: what one of them completed outlives it there. An anonymous file
// (memfd), sent to every worker (hand-over.ts), which maps it, so that writing to it costs no system call. The first page says
// what was agreed on with the kernel; the journal has the rest.

import { closeSync, ftruncateSync, readSync } from "node:fs";
import koffi from "koffi";
import { systemError } from "../base/system-error.ts";
import type { Negotiated } from "../fuse/kernel/negotiation.ts";

const PAGE_BYTES = 4096;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MFD_CLOEXEC = 1;
const AGREED = 1;
const FIELDS = 5;

const libc = koffi.load(null);
const memfdCreate = libc.func("int memfd_create(const char *name, unsigned int flags)") as (
  name: string,
  flags: number,
) => number;
const mmap = libc.func(
  "void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)",
) as (address: null, length: number, protection: number, flags: number, fd: number, offset: number) => unknown;

/** An anonymous file of so many bytes, all zero; returns its descriptor. `name`: for whoever looks at /proc. Throws SystemError. */
export function anonymousFile(name: string, lengthBytes: number): number {
  const fd = memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) throw systemError("memfd_create");
  try {
    ftruncateSync(fd, lengthBytes);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** New memory, all zero, for a journal of so many bytes; returns its descriptor. Throws SystemError. */
export function createSharedMemory(journalBytes: number): number {
  return anonymousFile("h2ts journal", PAGE_BYTES + journalBytes);
}

/** A worker's view of it. Mapped for as long as the process lives. */
export class SharedMemory {
  readonly journal: Uint8Array;
  readonly #agreed: Float64Array;

  /** Throws SystemError. */
  constructor(fd: number, journalBytes: number) {
    const length = PAGE_BYTES + journalBytes;
    const address = mmap(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0);
    if (koffi.address(address) === 0xffff_ffff_ffff_ffffn) throw systemError("mmap");
    const bytes = new Uint8Array(koffi.view(address, length));
    this.#agreed = new Float64Array(bytes.buffer, bytes.byteOffset, FIELDS);
    this.journal = bytes.subarray(PAGE_BYTES);
  }

  /** What a worker agreed on with the kernel; undefined before INIT. */
  get negotiated(): Negotiated | undefined {
    return read(this.#agreed);
  }

  /** To be noted before the kernel gets its answer: from then on it will never ask again. */
  set negotiated(agreed: Negotiated | undefined) {
    if (agreed === undefined) return;
    const { minor, flags, flags2, maxReadaheadBytes } = agreed;
    this.#agreed.set([minor, flags, flags2, maxReadaheadBytes], 1);
    this.#agreed[0] = AGREED;
  }
}

/** The supervisor's look at what was agreed on. */
export function negotiatedIn(fd: number): Negotiated | undefined {
  const fields = new Float64Array(FIELDS);
  readSync(fd, new Uint8Array(fields.buffer), 0, fields.byteLength, 0);
  return read(fields);
}

function read(fields: Float64Array): Negotiated | undefined {
  const [agreed, minor = 0, flags = 0, flags2 = 0, maxReadaheadBytes = 0] = fields;
  return agreed === AGREED ? { minor, flags, flags2, maxReadaheadBytes } : undefined;
}
