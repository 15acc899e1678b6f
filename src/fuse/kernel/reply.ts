// The one buffer every reply is written into. Encoding and sending happen in one synchronous step, so it is never shared in time.

import { writeI64, writeU64 } from "../../base/integers.ts";
import type { Attributes } from "../../posix/requests.ts";
import { encodeDevice } from "../../base/device-number.ts";
import { Limit, STATX_MASK } from "./abi.ts";
import type { Request } from "./request.ts";
import { Attr, AttrOut, EntryOut, OutHeader, Statx, StatxOut, StatxTime } from "./structures.ts";

/** Ten years: nobody but the kernel above us changes the filesystem, so what it cached stays true. */
const FOREVER_SEC = 315_360_000;

/** How long attributes are true: those that change by themselves are to be asked for each time. */
function validSec(attributes: Attributes | undefined): number {
  return attributes?.isTrimming === true ? 0 : FOREVER_SEC;
}

/** Preferred I/O size reported to programs; the page cache makes larger requests of it. */
const PREFERRED_BYTES = 4096;

/** Writes a fuse_attr at byte `at`. */
function writeAttributes(view: DataView, at: number, attributes: Attributes): void {
  writeU64(view, at + Attr.ino, attributes.ino);
  writeU64(view, at + Attr.size, attributes.size);
  writeU64(view, at + Attr.blocks, attributes.blocks);
  writeI64(view, at + Attr.atime, attributes.atime.sec);
  writeI64(view, at + Attr.mtime, attributes.mtime.sec);
  writeI64(view, at + Attr.ctime, attributes.ctime.sec);
  view.setUint32(at + Attr.atimensec, attributes.atime.nsec, true);
  view.setUint32(at + Attr.mtimensec, attributes.mtime.nsec, true);
  view.setUint32(at + Attr.ctimensec, attributes.ctime.nsec, true);
  view.setUint32(at + Attr.mode, attributes.mode, true);
  view.setUint32(at + Attr.nlink, attributes.nlink, true);
  view.setUint32(at + Attr.uid, attributes.uid, true);
  view.setUint32(at + Attr.gid, attributes.gid, true);
  view.setUint32(at + Attr.rdev, encodeDevice(attributes.rdevMajor, attributes.rdevMinor), true);
  view.setUint32(at + Attr.blksize, PREFERRED_BYTES, true);
  view.setUint32(at + Attr.flags, 0, true);
}

/** Writes a fuse_entry_out at byte `at`; undefined is "no such name", which the kernel caches, too, without looking at attributes. */
export function writeEntry(view: DataView, at: number, attributes: Attributes | undefined): void {
  writeU64(view, at + EntryOut.nodeid, attributes?.ino ?? 0);
  writeU64(view, at + EntryOut.generation, attributes?.generation ?? 0);
  writeU64(view, at + EntryOut.entryValid, FOREVER_SEC);
  writeU64(view, at + EntryOut.attrValid, validSec(attributes));
  writeU64(view, at + EntryOut.entryValidNsec, 0); // and attrValidNsec
  if (attributes !== undefined) writeAttributes(view, at + EntryOut.attr, attributes);
}

function writeStatx(view: DataView, at: number, attributes: Attributes): void {
  view.setUint32(at + Statx.mask, STATX_MASK, true);
  view.setUint32(at + Statx.blksize, PREFERRED_BYTES, true);
  view.setUint32(at + Statx.nlink, attributes.nlink, true);
  view.setUint32(at + Statx.uid, attributes.uid, true);
  view.setUint32(at + Statx.gid, attributes.gid, true);
  view.setUint16(at + Statx.mode, attributes.mode, true);
  writeU64(view, at + Statx.ino, attributes.ino);
  writeU64(view, at + Statx.size, attributes.size);
  writeU64(view, at + Statx.blocks, attributes.blocks);
  for (const field of ["atime", "btime", "ctime", "mtime"] as const) {
    writeI64(view, at + Statx[field] + StatxTime.sec, attributes[field].sec);
    view.setUint32(at + Statx[field] + StatxTime.nsec, attributes[field].nsec, true);
  }
  view.setUint32(at + Statx.rdevMajor, attributes.rdevMajor, true);
  view.setUint32(at + Statx.rdevMinor, attributes.rdevMinor, true);
}

export class Reply {
  readonly bytes = new Uint8Array(OutHeader.sizeBytes + Limit.maxWriteBytes);
  readonly view = new DataView(this.bytes.buffer);
  /** Where the operation's own answer begins. */
  readonly body = OutHeader.sizeBytes;
  /** Most bytes an answer may have. */
  readonly bodyLimitBytes = Limit.maxWriteBytes;

  /** Writes the header of an answer to `request`; returns the length of the whole message. */
  header(request: Request, errno: number, bodyBytes: number): number {
    const view = this.view;
    const lengthBytes = OutHeader.sizeBytes + bodyBytes;
    view.setUint32(OutHeader.len, lengthBytes, true);
    view.setInt32(OutHeader.error, -errno, true);
    view.setUint32(OutHeader.unique, request.uniqueLow, true);
    view.setUint32(OutHeader.unique + 4, request.uniqueHigh, true);
    return lengthBytes;
  }

  /** Writes a message the kernel did not ask for; returns its length. */
  notification(code: number): number {
    const view = this.view;
    view.setUint32(OutHeader.len, OutHeader.sizeBytes, true);
    view.setInt32(OutHeader.error, code, true);
    writeU64(view, OutHeader.unique, 0);
    return OutHeader.sizeBytes;
  }

  // The answers; each returns the length of the body.

  entry(attributes: Attributes | undefined): number {
    writeEntry(this.view, this.body, attributes);
    return EntryOut.sizeBytes;
  }

  attributes(attributes: Attributes): number {
    writeU64(this.view, this.body + AttrOut.attrValid, validSec(attributes));
    writeU64(this.view, this.body + AttrOut.attrValidNsec, 0); // and dummy
    writeAttributes(this.view, this.body + AttrOut.attr, attributes);
    return AttrOut.sizeBytes;
  }

  statx(attributes: Attributes): number {
    this.zero(StatxOut.sizeBytes);
    writeU64(this.view, this.body + StatxOut.attrValid, validSec(attributes));
    writeStatx(this.view, this.body + StatxOut.stat, attributes);
    return StatxOut.sizeBytes;
  }

  /** A structure of one u64, or of a u32 and padding. */
  u64(value: number): number {
    writeU64(this.view, this.body, value);
    return 8;
  }

  data(bytes: Uint8Array): number {
    this.bytes.set(bytes, this.body);
    return bytes.length;
  }

  /** Zeroes the first `lengthBytes` of the body, so that no reserved field carries an older answer. */
  zero(lengthBytes: number): void {
    this.bytes.fill(0, this.body, this.body + lengthBytes);
  }
}
