// Operations on attributes: getattr, statx, setattr, readlink, statfs.

import type { Timespec } from "../../base/clock.ts";
import { writeU64 } from "../../base/integers.ts";
import type { AttributeChange, Attributes, FileSystemStatistics } from "../../posix/requests.ts";
import type { Eventually } from "../../base/eventually.ts";
import { GETATTR_FH, Opcode, SetattrFlag } from "./abi.ts";
import { type Operation, type OperationContext, operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import { GetattrIn, SetattrIn, StatfsOut } from "./structures.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function timeAt(request: Request, sec: number, nsec: number): Timespec {
  return { sec: request.seconds(sec), nsec: request.u32(nsec) };
}

/** The change a SETATTR asks for. */
export function attributeChange(request: Request): AttributeChange {
  const valid = request.u32(SetattrIn.valid);
  const change: Mutable<AttributeChange> = {};
  if (valid & SetattrFlag.MODE) change.mode = request.u32(SetattrIn.mode);
  if (valid & SetattrFlag.UID) change.uid = request.u32(SetattrIn.uid);
  if (valid & SetattrFlag.GID) change.gid = request.u32(SetattrIn.gid);
  if (valid & SetattrFlag.SIZE) change.size = request.u64(SetattrIn.size, "EFBIG");
  if (valid & SetattrFlag.ATIME_NOW) change.atime = "now";
  else if (valid & SetattrFlag.ATIME) change.atime = timeAt(request, SetattrIn.atime, SetattrIn.atimensec);
  if (valid & SetattrFlag.MTIME_NOW) change.mtime = "now";
  else if (valid & SetattrFlag.MTIME) change.mtime = timeAt(request, SetattrIn.mtime, SetattrIn.mtimensec);
  if (valid & SetattrFlag.CTIME) change.ctime = timeAt(request, SetattrIn.ctime, SetattrIn.ctimensec);
  if (valid & SetattrFlag.KILL_SUIDGID) change.killPrivileges = true;
  return change;
}

function getAttributes({ fs, writeBackErrors }: OperationContext, request: Request): Eventually<Attributes> {
  // With writes kept by the kernel only a write(2) that it is about to take asks so.
  if ((request.u32(GetattrIn.getattrFlags) & GETATTR_FH) !== 0) writeBackErrors.beforeWrite(request.nodeid);
  return fs.getAttributes(request.nodeid);
}

function setAttributes({ fs, writeBackErrors }: OperationContext, request: Request): Eventually<Attributes> {
  const change = attributeChange(request);
  if (change.size !== undefined) writeBackErrors.settled(request.nodeid);
  return fs.setAttributes(request.nodeid, change);
}

function encodeStatistics(reply: Reply, statistics: FileSystemStatistics): number {
  const { view, body } = reply;
  reply.zero(StatfsOut.sizeBytes);
  writeU64(view, body + StatfsOut.blocks, statistics.blocks);
  writeU64(view, body + StatfsOut.bfree, statistics.blocksFree);
  writeU64(view, body + StatfsOut.bavail, statistics.blocksAvailable);
  writeU64(view, body + StatfsOut.files, statistics.files);
  writeU64(view, body + StatfsOut.ffree, statistics.filesFree);
  view.setUint32(body + StatfsOut.bsize, statistics.blockBytes, true);
  view.setUint32(body + StatfsOut.namelen, statistics.nameMaxBytes, true);
  view.setUint32(body + StatfsOut.frsize, statistics.blockBytes, true);
  return StatfsOut.sizeBytes;
}

export const ATTRIBUTE_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [
    Opcode.GETATTR,
    operation<Attributes>({
      bodyBytes: GetattrIn.sizeBytes,
      run: getAttributes,
      encode: (reply, attributes) => reply.attributes(attributes),
    }),
  ],
  [
    Opcode.STATX,
    operation<Attributes>({
      bodyBytes: 0,
      run: ({ fs }, request) => fs.getAttributes(request.nodeid),
      encode: (reply, attributes) => reply.statx(attributes),
    }),
  ],
  [
    Opcode.SETATTR,
    operation<Attributes>({
      bodyBytes: SetattrIn.sizeBytes,
      run: setAttributes,
      encode: (reply, attributes) => reply.attributes(attributes),
    }),
  ],
  [
    Opcode.READLINK,
    operation<Uint8Array>({
      bodyBytes: 0,
      run: ({ fs }, request) => fs.readlink(request.nodeid),
      encode: (reply, target) => reply.data(target),
    }),
  ],
  [
    Opcode.STATFS,
    operation<FileSystemStatistics>({
      bodyBytes: 0,
      run: ({ fs }) => fs.statistics(),
      encode: encodeStatistics,
    }),
  ],
]);
