// Operations on names: lookup, creation, links, removal, rename, and giving lookups back.

import { after, type Eventually } from "../../base/eventually.ts";
import { isDirectory } from "../../format/mode.ts";
import type { Attributes } from "../../posix/requests.ts";
import { decodeDevice } from "../../base/device-number.ts";
import { Opcode } from "./abi.ts";
import { NO_BODY, type Operation, type OperationContext, operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import {
  BatchForgetIn,
  CreateIn,
  EntryOut,
  ForgetIn,
  ForgetOne,
  LinkIn,
  MkdirIn,
  MknodIn,
  OpenOut,
  Rename2In,
  RenameIn,
} from "./structures.ts";

function forgetEntry(context: OperationContext, attributes: Attributes | undefined): void {
  if (attributes !== undefined) context.fs.forget(attributes.ino, 1);
}

/** An operation whose answer is an entry, of which the kernel then holds one lookup. */
function entryOperation(
  bodyBytes: number,
  run: (context: OperationContext, request: Request) => Eventually<Attributes | undefined>,
): Operation {
  const encode = (reply: Reply, attributes: Attributes | undefined): number => reply.entry(attributes);
  return operation<Attributes | undefined>({ bodyBytes, run, encode, undelivered: forgetEntry });
}

function lookup({ fs, habit }: OperationContext, request: Request): Eventually<Attributes | undefined> {
  const found = fs.lookup(request.nodeid, request.lastName(0));
  if (!habit.isWatching) return found;
  return after(found, (attributes) => {
    if (attributes !== undefined && !isDirectory(attributes.mode)) habit.lookedUp();
    return attributes;
  });
}

function rename(context: OperationContext, request: Request, headBytes: number, flags: number): Eventually<void> {
  const name = request.name(headBytes);
  const newName = request.lastName(headBytes + name.length + 1);
  return context.fs.rename(request.nodeid, name, request.u64(RenameIn.newdir), newName, flags, request);
}

function forgetMany(context: OperationContext, request: Request): void {
  const room = Math.floor((request.bodyBytes - BatchForgetIn.sizeBytes) / ForgetOne.sizeBytes);
  const count = Math.min(request.u32(BatchForgetIn.count), room);
  for (let index = 0; index < count; index++) {
    const at = BatchForgetIn.sizeBytes + index * ForgetOne.sizeBytes;
    context.fs.forget(request.u64(at + ForgetOne.nodeid), request.u64(at + ForgetOne.nlookup));
  }
}

export const NAME_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  // "." and ".." arrive too: they turn a file handle back into a node.
  [Opcode.LOOKUP, entryOperation(1, lookup)],
  [
    Opcode.MKNOD,
    entryOperation(MknodIn.sizeBytes, ({ fs }, request) => {
      const { major, minor } = decodeDevice(request.u32(MknodIn.rdev));
      request.umask = request.u32(MknodIn.umask);
      const mode = request.u32(MknodIn.mode);
      return fs.makeNode(request.nodeid, request.lastName(MknodIn.sizeBytes), mode, major, minor, request);
    }),
  ],
  [
    Opcode.MKDIR,
    entryOperation(MkdirIn.sizeBytes, ({ fs }, request) => {
      request.umask = request.u32(MkdirIn.umask);
      return fs.makeDirectory(request.nodeid, request.lastName(MkdirIn.sizeBytes), request.u32(MkdirIn.mode), request);
    }),
  ],
  [
    Opcode.SYMLINK,
    entryOperation(1, ({ fs }, request) => {
      const name = request.name(0);
      return fs.makeSymlink(request.nodeid, name, request.lastName(name.length + 1), request);
    }),
  ],
  [
    Opcode.LINK,
    entryOperation(LinkIn.sizeBytes, ({ fs }, request) =>
      fs.link(request.u64(LinkIn.oldnodeid), request.nodeid, request.lastName(LinkIn.sizeBytes), request),
    ),
  ],
  [
    Opcode.TMPFILE,
    operation<Attributes>({
      bodyBytes: CreateIn.sizeBytes,
      run({ fs }, request) {
        request.umask = request.u32(CreateIn.umask);
        return fs.makeTemporary(request.nodeid, request.u32(CreateIn.mode), request);
      },
      // The one creation that has no equivalent without an open file; its handle stands for nothing, as in the others.
      encode(reply, attributes) {
        reply.zero(EntryOut.sizeBytes + OpenOut.sizeBytes);
        return reply.entry(attributes) + OpenOut.sizeBytes;
      },
      undelivered: forgetEntry,
    }),
  ],
  [
    Opcode.UNLINK,
    operation<void>({
      bodyBytes: 1,
      run: ({ fs }, request) => fs.unlink(request.nodeid, request.lastName(0), request),
      encode: NO_BODY,
    }),
  ],
  [
    Opcode.RMDIR,
    operation<void>({
      bodyBytes: 1,
      run: ({ fs }, request) => fs.removeDirectory(request.nodeid, request.lastName(0), request),
      encode: NO_BODY,
    }),
  ],
  [
    Opcode.RENAME,
    operation<void>({
      bodyBytes: RenameIn.sizeBytes,
      run: (context, request) => rename(context, request, RenameIn.sizeBytes, 0),
      encode: NO_BODY,
    }),
  ],
  [
    Opcode.RENAME2,
    operation<void>({
      bodyBytes: Rename2In.sizeBytes,
      run: (context, request) => rename(context, request, Rename2In.sizeBytes, request.u32(Rename2In.flags)),
      encode: NO_BODY,
    }),
  ],
  [
    Opcode.FORGET,
    operation<void>({
      bodyBytes: ForgetIn.sizeBytes,
      run: ({ fs }, request) => fs.forget(request.nodeid, request.u64(ForgetIn.nlookup)),
      encode: undefined,
    }),
  ],
  [Opcode.BATCH_FORGET, operation<void>({ bodyBytes: BatchForgetIn.sizeBytes, run: forgetMany, encode: undefined })],
]);
