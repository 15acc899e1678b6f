// What a check remembers of each inode: what the inode says of itself, and what was really found.

import { isDirectory, isFileType, isSymlink } from "../src/format/mode.ts";

export const isKnownType = (mode: number): boolean => mode <= 0o177777 && isFileType(mode);

/** What an inode says of itself. */
export interface InodeClaims {
  readonly ino: number;
  readonly mode: number;
  readonly nlink: number;
  /** Bytes. */
  readonly size: number;
  readonly usedKib: number;
  /** Directory: number of entries, and the directory it is in. */
  readonly entries: number;
  readonly parent: number;
  /** Blocks past its size wait to be released. */
  readonly trim: boolean;
}

export class InodeRecord implements InodeClaims {
  readonly ino: number;
  readonly mode: number;
  readonly nlink: number;
  readonly size: number;
  readonly usedKib: number;
  readonly entries: number;
  readonly parent: number;
  readonly trim: boolean;
  /** KiB of data and xattr blocks met. */
  foundKib = 0;
  /** First byte after the data blocks met so far. */
  dataEnd = 0;
  /** Entries met that name it. */
  names = 0;
  /** The directory an entry of which named it first; -1 while there is none. */
  foundIn = -1;
  /** Key of that entry. */
  foundKey = -1;
  /** Directory: entries met in it, and those of them that are directories. */
  foundEntries = 0;
  foundDirectories = 0;
  /** Its blocks could not all be read or followed, so counts of what is below mean nothing. */
  incomplete = false;
  /** Hangs from the root directory; decided at the end. */
  attached: boolean | undefined;
  /** The lowest number in a cycle of directories, which is reported by it; those that merely hang from the cycle are not. */
  namesCycle = false;

  constructor(claims: InodeClaims) {
    this.ino = claims.ino;
    this.mode = claims.mode;
    this.nlink = claims.nlink;
    this.size = claims.size;
    this.usedKib = claims.usedKib;
    this.entries = claims.entries;
    this.parent = claims.parent;
    this.trim = claims.trim;
  }

  get isDirectory(): boolean {
    return isDirectory(this.mode);
  }

  get isSymlink(): boolean {
    return isSymlink(this.mode);
  }
}
