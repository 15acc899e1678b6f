// Where the revalidation of an unknown copy stands, as the root keeps it across mounts: the copy, and the inode up to which
// every pointer to it was checked. One copy is revalidated at a time; 0 when none is.

import { COPIES_MAX } from "./geometry.ts";

export const cursorOf = (copyIndex: number, ino: number): number => ino * COPIES_MAX + copyIndex;

/** The copy a cursor is about; undefined when there is none. */
export const cursorCopy = (cursor: number): number | undefined => (cursor === 0 ? undefined : cursor % COPIES_MAX);

/** The inode it stands at. */
export const cursorInode = (cursor: number): number => Math.floor(cursor / COPIES_MAX);
