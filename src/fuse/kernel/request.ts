// One FUSE request, read straight from the buffer it arrived in. The object and its buffer are reused: whatever it hands out
// (names, data) is a view that is valid until the reply was sent. It is also the Caller the filesystem is given.

import { FsError } from "../../base/errno.ts";
import type { Caller } from "../../posix/requests.ts";
import { Limit } from "./abi.ts";
import { InHeader } from "./structures.ts";

const TWO_32 = 0x1_0000_0000;

/** Size a request buffer must have: the kernel refuses to deliver anything into a smaller one. */
export const REQUEST_BUFFER_BYTES = Limit.requestHeaderBytes + Limit.maxWriteBytes;
const PAGE_BYTES = 4096;

/**
 * A buffer of which every page is in memory. The kernel fails a request with EIO that it can't copy to the end, and bringing in a
 * page for a process that is being killed it can't: with pages still to be made, a program would see an error, or a page it wrote
 * earlier would be lost, because the worker died in the middle of a read (I4).
 */
function residentBuffer(): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BUFFER_BYTES);
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) bytes[at] = 0;
  return bytes;
}

export class Request implements Caller {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the operation's own structure begins. */
  readonly body = InHeader.sizeBytes;
  opcode = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  /** Bit 63 of the unique id is set: a process before us was given this request, too. */
  resent = false;
  /** The unique id without that bit. */
  requestId = 0;
  /** Node the request is about. */
  nodeid = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  /** Set by operations whose structure carries one; 0 otherwise. */
  umask = 0;
  /** End of the operation's structure, names and data; extensions follow. */
  end = 0;
  #total = 0;
  /** Views of this buffer by length, for the commonest name of all: making one costs more than parsing the request. */
  readonly #names: Uint8Array[] = [];

  /** It was copied out of the buffer it came in. */
  readonly isParked: boolean;

  constructor(bytes: Uint8Array = residentBuffer(), isParked = false) {
    this.bytes = bytes;
    this.isParked = isParked;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * Takes in the header of a request of `lengthBytes`. False when there is not even a whole header (nothing can be answered);
   * a header that contradicts the length leaves an empty body, so that every operation with one refuses it.
   */
  accept(lengthBytes: number): boolean {
    if (lengthBytes < InHeader.sizeBytes) return false;
    const view = this.view;
    this.opcode = view.getUint32(InHeader.opcode, true);
    this.uniqueLow = view.getUint32(InHeader.unique, true);
    this.uniqueHigh = view.getUint32(InHeader.unique + 4, true);
    this.resent = this.uniqueHigh >>> 31 === 1;
    this.requestId = (this.uniqueHigh & 0x1f_ffff) * TWO_32 + this.uniqueLow;
    this.nodeid = view.getUint32(InHeader.nodeid, true) + view.getUint32(InHeader.nodeid + 4, true) * TWO_32;
    this.uid = view.getUint32(InHeader.uid, true);
    this.gid = view.getUint32(InHeader.gid, true);
    this.pid = view.getUint32(InHeader.pid, true);
    this.umask = 0;
    this.#total = lengthBytes;
    this.end = lengthBytes - view.getUint16(InHeader.totalExtlen, true) * 8;
    if (view.getUint32(InHeader.len, true) !== lengthBytes || this.end < this.body) {
      this.end = this.body;
      this.#total = this.body;
    }
    return true;
  }

  /** The same request in a buffer of its own, just as long. */
  parked(): Request {
    const request = new Request(this.bytes.slice(0, this.#total), true);
    request.accept(this.#total);
    return request;
  }

  get bodyBytes(): number {
    return this.end - this.body;
  }

  u32(field: number): number {
    return this.view.getUint32(this.body + field, true);
  }

  /** A u64 that must not exceed 2^53-1; beyond, the request is refused with `code`. */
  u64(field: number, code: "EINVAL" | "EFBIG" | "ENXIO" = "EINVAL"): number {
    const at = this.body + field;
    const high = this.view.getUint32(at + 4, true);
    if (high > 0x1f_ffff) throw new FsError(code, `64-bit value out of range in FUSE request ${this.opcode}`);
    return high * TWO_32 + this.view.getUint32(at, true);
  }

  /** A signed number of seconds; those beyond 2^53-1 either way, some 285 million years off, are the last before. */
  seconds(field: number): number {
    const at = this.body + field;
    const seconds = this.view.getInt32(at + 4, true) * TWO_32 + this.view.getUint32(at, true);
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, seconds));
  }

  /** The part of the buffer that the request leaves free: as long as the longest content of a request, and used until it is answered. */
  get room(): Uint8Array {
    return this.bytes.subarray(Limit.requestHeaderBytes);
  }

  /** The NUL-terminated string at byte `field` of the body, without its NUL. */
  name(field: number): Uint8Array {
    const from = this.body + field;
    const nul = this.bytes.indexOf(0, from);
    if (nul < 0 || nul >= this.end) throw new FsError("EINVAL", `unterminated name in FUSE request ${this.opcode}`);
    return this.bytes.subarray(from, nul);
  }

  /** The NUL-terminated string that ends the body, from byte `field` on. Cheaper than `name`: nothing is searched. */
  lastName(field: number): Uint8Array {
    const from = this.body + field;
    const nul = this.end - 1;
    if (nul < from || this.bytes[nul] !== 0) {
      throw new FsError("EINVAL", `unterminated name in FUSE request ${this.opcode}`);
    }
    if (field !== 0 || nul - from > Limit.nameMaxBytes) return this.bytes.subarray(from, nul);
    return (this.#names[nul - from] ??= this.bytes.subarray(from, nul));
  }

  /** `lengthBytes` bytes at byte `field` of the body. */
  data(field: number, lengthBytes: number): Uint8Array {
    const from = this.body + field;
    if (from + lengthBytes > this.end) throw new FsError("EINVAL", `FUSE request ${this.opcode} is cut short`);
    return this.bytes.subarray(from, from + lengthBytes);
  }
}
