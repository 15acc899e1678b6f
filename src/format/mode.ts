// The bits of st_mode, as inodes hold them.

export const Mode = {
  TYPE: 0o170000,
  SOCKET: 0o140000,
  SYMLINK: 0o120000,
  REGULAR: 0o100000,
  BLOCK: 0o060000,
  DIRECTORY: 0o040000,
  CHARACTER: 0o020000,
  FIFO: 0o010000,
  SETUID: 0o4000,
  SETGID: 0o2000,
  STICKY: 0o1000,
  GROUP_EXECUTE: 0o010,
  PERMISSIONS: 0o7777,
  ACCESS: 0o777,
} as const;

export const isDirectory = (mode: number): boolean => (mode & Mode.TYPE) === Mode.DIRECTORY;
export const isRegular = (mode: number): boolean => (mode & Mode.TYPE) === Mode.REGULAR;
export const isSymlink = (mode: number): boolean => (mode & Mode.TYPE) === Mode.SYMLINK;

/** True for one of the seven types; anything else on media is damage. */
export function isFileType(mode: number): boolean {
  switch (mode & Mode.TYPE) {
    case Mode.SOCKET:
    case Mode.SYMLINK:
    case Mode.REGULAR:
    case Mode.BLOCK:
    case Mode.DIRECTORY:
    case Mode.CHARACTER:
    case Mode.FIFO:
      return true;
    default:
      return false;
  }
}
