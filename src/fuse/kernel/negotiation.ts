// INIT: which of the kernel's offers h2ts takes, and what it depends on.
//
// Taken: everything that saves requests (write-back cache, readdirplus, long caching, no OPEN/OPENDIR/CREATE and so no RELEASE)
// or gives exact semantics (POSIX_ACL, DONT_MASK, KILLPRIV_V2). Left: ATOMIC_O_TRUNC, because a kernel that no longer sends OPEN
// would lose the truncation; POSIX_LOCKS and FLOCK_LOCKS, because the kernel keeps locks itself and they then outlive a worker.

import { FsError } from "../../base/errno.ts";
import { InitFlag, InitFlag2, KERNEL_VERSION, Limit } from "./abi.ts";
import { type Operation, operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import { InitIn, InitOut } from "./structures.ts";

const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.EXPORT_SUPPORT |
  InitFlag.BIG_WRITES |
  InitFlag.DONT_MASK |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.WRITEBACK_CACHE |
  InitFlag.NO_OPEN_SUPPORT |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.POSIX_ACL |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.NO_OPENDIR_SUPPORT |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT |
  InitFlag.INIT_EXT;

const WANTED2 = InitFlag2.HAS_RESEND;

/** Without these the session would have to keep open files, which would not survive a restart of the worker. */
const REQUIRED = InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT;

/** What was agreed on. A worker that takes over a live mount is given its predecessor's: INIT comes once per mount. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxReadaheadBytes: number;
}

/** What to agree on, given the kernel's INIT. Throws FsError EINVAL for kernels too old. */
function negotiate(request: Request): Negotiated {
  const major = request.u32(InitIn.major);
  const minor = request.u32(InitIn.minor);
  const offered = request.u32(InitIn.flags);
  if (major < KERNEL_VERSION.MAJOR || (major === KERNEL_VERSION.MAJOR && minor < KERNEL_VERSION.OLDEST_MINOR)) {
    throw new FsError("EINVAL", `the kernel speaks FUSE ${major}.${minor}; 7.31 (Linux 5.4) or later is needed`);
  }
  if ((offered & REQUIRED) !== REQUIRED) throw new FsError("EINVAL", "the kernel can't do without OPEN requests");
  const extended = (offered & InitFlag.INIT_EXT) !== 0 && request.bodyBytes >= InitIn.flags2 + 4;
  const maxReadaheadBytes = Math.max(request.u32(InitIn.maxReadahead), Limit.maxWriteBytes);
  return {
    minor: Math.min(minor, KERNEL_VERSION.MINOR),
    flags: (offered & WANTED) >>> 0,
    flags2: extended ? (request.u32(InitIn.flags2) & WANTED2) >>> 0 : 0,
    maxReadaheadBytes,
  };
}

function encodeInit(reply: Reply, agreed: Negotiated): number {
  const { view, body } = reply;
  reply.zero(InitOut.sizeBytes);
  view.setUint32(body + InitOut.major, KERNEL_VERSION.MAJOR, true);
  view.setUint32(body + InitOut.minor, agreed.minor, true);
  view.setUint32(body + InitOut.maxReadahead, agreed.maxReadaheadBytes, true);
  view.setUint32(body + InitOut.flags, agreed.flags, true);
  view.setUint32(body + InitOut.flags2, agreed.flags2, true);
  view.setUint16(body + InitOut.maxBackground, Limit.maxBackground, true);
  view.setUint16(body + InitOut.congestionThreshold, Limit.congestionThreshold, true);
  view.setUint32(body + InitOut.maxWrite, Limit.maxWriteBytes, true);
  view.setUint32(body + InitOut.timeGran, 1, true);
  view.setUint16(body + InitOut.maxPages, Limit.maxPages, true);
  return InitOut.sizeBytes;
}

export const INIT: Operation = operation<Negotiated>({
  bodyBytes: InitIn.flags + 4,
  run(context, request) {
    context.negotiated = negotiate(request);
    return context.negotiated;
  },
  encode: encodeInit,
});
