// Operations on file contents: read, write, fsync, fallocate, lseek, copy_file_range; the end of an open file; ioctl.

import { assert } from "../../base/assert.ts";
import { FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import { ROOT_INO } from "../../format/pfs.ts";
import type { ReadResult } from "../../posix/requests.ts";
import { Opcode, WriteFlag } from "./abi.ts";
import { NO_BODY, type Operation, type OperationContext, operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import { CopyFileRangeIn, FallocateIn, LseekIn, ReadIn, WriteIn } from "./structures.ts";

function encodeRead(reply: Reply, result: ReadResult, request: Request): number {
  const limit = Math.min(request.u32(ReadIn.size), reply.bodyLimitBytes);
  assert(result.lengthBytes <= limit, `read of ${limit} bytes was answered with ${result.lengthBytes}`);
  let at = reply.body;
  for (const piece of result.pieces) {
    reply.bytes.set(piece, at);
    at += piece.length;
  }
  return result.lengthBytes;
}

function write({ fs, writeBackErrors }: OperationContext, request: Request): Eventually<number> {
  const data = request.data(WriteIn.sizeBytes, request.u32(WriteIn.size));
  const flags = request.u32(WriteIn.writeFlags);
  const cached = (flags & WriteFlag.CACHE) !== 0;
  const ino = request.nodeid;
  const refused = (error: unknown): never => {
    if (cached) writeBackErrors.failed(ino, error);
    throw error;
  };
  try {
    // Also with O_APPEND: the kernel alone knows where a file ends of which it has pages that were not written back.
    const written = fs.write(ino, request.u64(WriteIn.offset, "EFBIG"), data, {
      killPrivileges: (flags & WriteFlag.KILL_SUIDGID) !== 0,
      cached,
    });
    return written instanceof Promise ? written.catch(refused) : written;
  } catch (error) {
    return refused(error);
  }
}

function copyRange({ fs }: OperationContext, request: Request): Eventually<number> {
  return fs.copyRange(
    request.nodeid,
    request.u64(CopyFileRangeIn.offIn, "EFBIG"),
    request.u64(CopyFileRangeIn.nodeidOut),
    request.u64(CopyFileRangeIn.offOut, "EFBIG"),
    // Copying less than asked is allowed; the answer to the older opcode has 32 bits.
    Math.min(request.u64(CopyFileRangeIn.len), 0x7fff_f000),
    request,
  );
}

/** Of the root folder: the barrier for the whole volume. */
function synchronize({ fs, writeBackErrors }: OperationContext, request: Request): Promise<void> {
  // The kernel tells whoever called it what went wrong before.
  writeBackErrors.settled(request.nodeid);
  return request.nodeid === ROOT_INO ? fs.sync() : fs.syncFile(request.nodeid);
}

const SYNCHRONIZE = operation<void>({ bodyBytes: 0, run: synchronize, encode: NO_BODY });
const COPY_RANGE = operation<number>({
  bodyBytes: CopyFileRangeIn.sizeBytes,
  run: copyRange,
  encode: (reply, copied) => reply.u64(copied),
});
// Only files made by TMPFILE have a handle at all, and it stands for nothing.
const RELEASE = operation<void>({ bodyBytes: 0, run: () => undefined, encode: NO_BODY });

export const DATA_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [
    Opcode.READ,
    operation<ReadResult>({
      bodyBytes: ReadIn.sizeBytes,
      run: ({ fs }, request) =>
        fs.read(request.nodeid, request.u64(ReadIn.offset), request.u32(ReadIn.size), request.room),
      encode: encodeRead,
    }),
  ],
  [
    Opcode.WRITE,
    operation<number>({ bodyBytes: WriteIn.sizeBytes, run: write, encode: (reply, written) => reply.u64(written) }),
  ],
  [Opcode.FSYNC, SYNCHRONIZE],
  [Opcode.FSYNCDIR, SYNCHRONIZE],
  [Opcode.SYNCFS, operation<void>({ bodyBytes: 0, run: ({ fs }) => fs.sync(), encode: NO_BODY })],
  [Opcode.RELEASE, RELEASE],
  [Opcode.RELEASEDIR, RELEASE],
  [
    Opcode.FALLOCATE,
    operation<void>({
      bodyBytes: FallocateIn.sizeBytes,
      run: ({ fs }, request) =>
        fs.fallocate(
          request.nodeid,
          request.u64(FallocateIn.offset, "EFBIG"),
          request.u64(FallocateIn.length, "EFBIG"),
          request.u32(FallocateIn.mode),
          request,
        ),
      encode: NO_BODY,
    }),
  ],
  [
    Opcode.LSEEK,
    operation<number>({
      bodyBytes: LseekIn.sizeBytes,
      // The kernel asks where a file's data is before it has written back what it keeps of that.
      afterWriteBack: true,
      // Before the beginning, or where no file ends, there is no data.
      run: ({ fs }, request) =>
        fs.seek(request.nodeid, request.u64(LseekIn.offset, "ENXIO"), request.u32(LseekIn.whence)),
      encode: (reply, offset) => reply.u64(offset),
    }),
  ],
  [Opcode.COPY_FILE_RANGE, COPY_RANGE],
  [Opcode.COPY_FILE_RANGE_64, COPY_RANGE],
  [
    Opcode.IOCTL,
    operation<void>({
      bodyBytes: 0,
      run() {
        throw new FsError("ENOTTY", "no ioctl is known");
      },
      encode: NO_BODY,
    }),
  ],
]);
