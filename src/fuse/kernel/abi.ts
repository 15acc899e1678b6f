// Numbers of the FUSE protocol, 7.31 to 7.45 (Linux <linux/fuse.h>): operations, flags and limits. No code.

export const KERNEL_VERSION = { MAJOR: 7, MINOR: 45, OLDEST_MINOR: 31 } as const;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Size of a dispatch table indexed by opcode. */
export const OPCODE_LIMIT = 64;

/** INIT flags, low word (`flags`). */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  ATOMIC_O_TRUNC: 1 << 3,
  EXPORT_SUPPORT: 1 << 4,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  FLOCK_LOCKS: 1 << 10,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  HANDLE_KILLPRIV: 1 << 19,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

/** INIT flags, high word (`flags2`), sent when INIT_EXT is offered. */
export const InitFlag2 = {
  HAS_RESEND: 1 << 7,
} as const;

export const SetattrFlag = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

/** `getattr_flags`: a program does something with an open file. */
export const GETATTR_FH = 1 << 0;

export const WriteFlag = { CACHE: 1 << 0, KILL_SUIDGID: 1 << 2 } as const;

/** `setxattr_flags` of SETXATTR when SETXATTR_EXT was negotiated. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0;

/** Code of a notification from server to kernel (sent with unique 0, the code in place of the error). */
export const Notification = { INVALIDATE_INODE: 2, RESEND: 7 } as const;

/** STATX_BASIC_STATS | STATX_BTIME. */
export const STATX_MASK = 0xfff;

export const Limit = {
  maxWriteBytes: 1 << 20,
  maxPages: 256,
  /** Headers before the payload of the largest request: in_header + write_in, rounded up generously. */
  requestHeaderBytes: 4096,
  nameMaxBytes: 255,
  /** Kernel requests nobody waits for (read-ahead, write-back) that may be under way together; each may hold 1 MiB. */
  maxBackground: 8,
  congestionThreshold: 6,
} as const;
