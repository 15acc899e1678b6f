// Extended attributes. Names are byte strings, carried as latin1 so that every byte survives.

import { Errno, FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import { InitFlag, Opcode, SETXATTR_ACL_KILL_SGID } from "./abi.ts";
import { NO_BODY, type Operation, type OperationContext, operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import { GetxattrIn, SetxattrIn } from "./structures.ts";

function xattrName(request: Request, field: number): string {
  const bytes = request.name(field);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function setXattr(context: OperationContext, request: Request): Eventually<void> {
  // Without the extension the structure is only the first two fields.
  const extended = ((context.negotiated?.flags ?? InitFlag.SETXATTR_EXT) & InitFlag.SETXATTR_EXT) !== 0;
  const headBytes = extended ? SetxattrIn.sizeBytes : SetxattrIn.setxattrFlags;
  const killSgid = extended && (request.u32(SetxattrIn.setxattrFlags) & SETXATTR_ACL_KILL_SGID) !== 0;
  const name = xattrName(request, headBytes);
  const value = request.data(headBytes + name.length + 1, request.u32(SetxattrIn.size));
  return context.fs.setXattr(request.nodeid, name, value, request.u32(SetxattrIn.flags), request, killSgid);
}

/** As other filesystems do it: trusted attributes are shown to root only. */
function listXattrs({ fs }: OperationContext, request: Request): Eventually<readonly string[]> {
  const shown = (names: readonly string[]): readonly string[] =>
    request.uid === 0 ? names : names.filter((name) => !name.startsWith("trusted."));
  const names = fs.listXattrs(request.nodeid);
  return names instanceof Promise ? names.then(shown) : shown(names);
}

/** The value, or with a size of 0 in the request only its length. */
function encodeValue(reply: Reply, value: Uint8Array | undefined, request: Request): number {
  if (value === undefined) return -Errno.ENODATA;
  const room = request.u32(GetxattrIn.size);
  if (room === 0) return reply.u64(value.length);
  if (value.length > room) throw new FsError("ERANGE", "extended attribute does not fit the buffer given");
  return reply.data(value);
}

function encodeNames(reply: Reply, names: readonly string[], request: Request): number {
  return encodeValue(reply, Buffer.from(names.map((name) => `${name}\0`).join(""), "latin1"), request);
}

export const XATTR_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [Opcode.SETXATTR, operation<void>({ bodyBytes: SetxattrIn.setxattrFlags, run: setXattr, encode: NO_BODY })],
  [
    Opcode.GETXATTR,
    operation<Uint8Array | undefined>({
      bodyBytes: GetxattrIn.sizeBytes,
      run: ({ fs }, request) => fs.getXattr(request.nodeid, xattrName(request, GetxattrIn.sizeBytes)),
      encode: encodeValue,
    }),
  ],
  [
    Opcode.LISTXATTR,
    operation<readonly string[]>({
      bodyBytes: GetxattrIn.sizeBytes,
      run: listXattrs,
      encode: encodeNames,
    }),
  ],
  [
    Opcode.REMOVEXATTR,
    operation<void>({
      bodyBytes: 1,
      run: ({ fs }, request) => fs.removeXattr(request.nodeid, xattrName(request, 0), request),
      encode: NO_BODY,
    }),
  ],
]);
