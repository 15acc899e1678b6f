// Names: looking one up, and listing a directory from a cookie on. A cookie is 1 after ".", 2 after "..", otherwise the
// entry's key + 3, so it stays good while entries come and go.

import { refEntryInode, refEntryType, refKey, refNameBytes, EMBEDDED_NAME_BYTES } from "../format/blockref.ts";
import { entryTypeOf } from "../format/dirent.ts";
import { inodeMode, inodeNlink, inodeParent } from "../format/inode.ts";
import { FsError } from "../base/errno.ts";
import { checkName, entriesRoot, entryName, findEntry, mayBeListed } from "../ops/directories.ts";
import { attributesOf, directoryOf, findInode, inodeOf } from "../ops/inodes.ts";
import { Mode, isDirectory } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { leavesAhead } from "../tree/read-ahead.ts";
import { type Position, treeCeiling } from "../tree/tree.ts";
import type { Attributes, AttributesWanted, DirectoryEntry } from "./requests.ts";

const DOT = Uint8Array.of(0x2e);
const DOT_DOT = Uint8Array.of(0x2e, 0x2e);
const DIRECTORY_TYPE = entryTypeOf(Mode.DIRECTORY);
const COOKIE_AFTER_DOT = 1;
export const COOKIE_AFTER_DOTS = 2;
const COOKIE_BASE = 3;
/** Entries whose inodes are asked for together when one is missing. */
const PRELOAD_ENTRIES = 128;
/** Leaves of a directory asked for together: 2048 entries. */
const LEAVES_AHEAD = 16;

function isDots(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
}

/** What `name` means in `parent`, undefined when it means nothing. "." and ".." turn file handles into nodes. */
export function lookupName(state: PfsState, parent: number, name: Uint8Array): Attributes | undefined {
  if (isDots(name)) {
    const inode = inodeOf(state, parent);
    // A file handle kept from before its file was removed: somebody may have it open still, but it can't be opened anew.
    if (inodeNlink(inode.view) === 0) throw new FsError("ESTALE");
    if (name.length === 1) return attributesOf(inode);
    if (!isDirectory(inodeMode(inode.view))) throw new FsError("ENOTDIR");
    return attributesOf(inodeOf(state, inodeParent(inode.view)));
  }
  checkName(name);
  const entry = findEntry(state.store, directoryOf(state, parent), name);
  if (entry === undefined) return undefined;
  const inode = findInode(state, entry.ino);
  if (inode === undefined) throw new FsError("EIO", `directory ${parent} names inode ${entry.ino}, which is not there`);
  return attributesOf(inode);
}

/** Calls `emit` for the entries after `cookie` until it refuses one; inodes whose attributes were taken go to `taken`. */
export function listDirectory(
  state: PfsState,
  ino: number,
  cookie: number,
  wanted: AttributesWanted,
  emit: (entry: DirectoryEntry, attributes: Attributes | undefined) => boolean,
  taken: number[],
): void {
  const { store } = state;
  const directory = directoryOf(state, ino);
  const parent = inodeParent(directory.view);
  if (cookie < COOKIE_AFTER_DOT) {
    if (!emit({ name: DOT, ino, type: DIRECTORY_TYPE, cookie: COOKIE_AFTER_DOT }, undefined)) return;
  }
  if (cookie < COOKIE_AFTER_DOTS) {
    if (!emit({ name: DOT_DOT, ino: parent, type: DIRECTORY_TYPE, cookie: COOKIE_AFTER_DOTS }, undefined)) return;
  }
  const root = entriesRoot(directory);
  let next = Math.max(0, cookie - COOKIE_BASE + 1);
  leavesAhead(store, root, next, LEAVES_AHEAD);
  let atHand = wanted === "at-hand";
  for (;;) {
    const found = treeCeiling(store, root, next);
    if (found === undefined) return;
    const { block, at } = found;
    const key = refKey(block.view, at);
    const entryIno = refEntryInode(block.view, at);
    let attributes: Attributes | undefined;
    if (wanted === "all") attributes = entryAttributes(state, directory, key, entryIno);
    else if (atHand) atHand = (attributes = attributesAtHand(state, entryIno)) !== undefined;
    const name = nameAt(state, directory, found);
    next = key + 1;
    if (name === undefined) continue;
    const entry = { name, ino: entryIno, type: refEntryType(block.view, at), cookie: key + COOKIE_BASE };
    if (!emit(entry, attributes)) return;
    if (attributes !== undefined) taken.push(entryIno);
  }
}

/** The name of an entry; undefined when no copy has it, or it can't be one, which is no reason to withhold the others. */
function nameAt(state: PfsState, directory: Block, found: Position): Uint8Array | undefined {
  const { block, at } = found;
  try {
    const name = entryName(state.store, block, at);
    // The kernel ends a listing with EIO at a name that has a slash in it.
    return mayBeListed(name) ? name : undefined;
  } catch (error) {
    if (error === MISS) preload(state, directory, refKey(block.view, at), false);
    return passOver(error);
  }
}

/** Attributes of what an entry names; undefined when they are not to be had (damage, which only its own users should see). */
function entryAttributes(state: PfsState, directory: Block, key: number, ino: number): Attributes | undefined {
  try {
    const inode = findInode(state, ino);
    return inode === undefined ? undefined : attributesOf(inode);
  } catch (error) {
    if (error === MISS) preload(state, directory, key, true);
    return passOver(error);
  }
}

/** Attributes of an inode that is in memory; of another one they are asked for, with those near it, and nobody waits. */
function attributesAtHand(state: PfsState, ino: number): Attributes | undefined {
  try {
    const inode = findInode(state, ino);
    return inode === undefined ? undefined : attributesOf(inode);
  } catch (error) {
    return error === MISS ? undefined : passOver(error);
  }
}

/** Asks for what the entries from `key` on need, all at once, and gives up. */
function preload(state: PfsState, directory: Block, key: number, inodes: boolean): never {
  const { store } = state;
  const root = entriesRoot(directory);
  for (let next = key, count = 0; count < PRELOAD_ENTRIES; count++) {
    const found = treeCeiling(store, root, next);
    if (found === undefined) break;
    const { block, at } = found;
    next = refKey(block.view, at) + 1;
    wantEntry(state, block, at, inodes);
  }
  throw MISS;
}

/** Asks for the name of an entry, and for its inode or what leads there. */
function wantEntry(state: PfsState, block: Block, at: number, inode: boolean): void {
  try {
    if (refNameBytes(block.view, at) > EMBEDDED_NAME_BYTES) state.store.want(block, at);
  } catch (error) {
    passOver(error);
  }
  if (inode) attributesAtHand(state, refEntryInode(block.view, at));
}

/** What no copy can give is lacking in a listing; anything else ends it. */
function passOver(error: unknown): undefined {
  if (error instanceof FsError && error.code === "EIO") return undefined;
  throw error;
}
