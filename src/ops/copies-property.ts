// The property copies=K of files and directories, seen as an extended attribute that every one of them has: on how many
// copies the data of files is written from now on. New files and directories take it over from the directory they are made in.
// A volume may come to have fewer copies than that, and more again: until then it means all.

import { FsError } from "../base/errno.ts";
import { RoCompat } from "../format/features.ts";
import { inodeCopies, setInodeCopies } from "../format/inode.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";

/** Its value is "all" or a number in decimal. It is not listed: a backup is not to carry it to another volume. */
export const COPIES_XATTR = "user.h2ts.copies";
const ALL = "all";

/** The value as getxattr gives it. */
export function copiesValue(inode: Block): Uint8Array {
  const copies = inodeCopies(inode.view);
  return Buffer.from(copies === 0 ? ALL : String(copies), "latin1");
}

/**
 * Refuses a value that asks for more copies than the volume has: EINVAL. For the request, not for the operation: a log may be
 * replayed on a root from before a copy came.
 */
export function checkCopies({ copyCount }: PfsState, value: Uint8Array): void {
  const copies = parse(value);
  if (copies > copyCount) throw new FsError("EINVAL", `copies=${copies}, but the volume has ${copyCount}`);
}

/** Sets the property of a writable inode; undefined for all copies. */
export function setCopies(state: PfsState, inode: Block, value: Uint8Array | undefined): void {
  const copies = value === undefined ? 0 : parse(value);
  if (copies > 0) state.requireToWrite(RoCompat.NARROW_DATA);
  setInodeCopies(inode.view, copies);
}

function parse(value: Uint8Array): number {
  const text = Buffer.from(value.buffer, value.byteOffset, value.length).toString("latin1");
  if (text === ALL) return 0;
  if (!/^[1-8]$/.test(text)) throw new FsError("EINVAL", "copies is a number from 1 to 8, or all");
  return Number(text);
}
