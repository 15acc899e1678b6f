// rename(2) with its flags, in Linux's order of checks. The kernel makes most of them too; a replayed log has no kernel.

import { FsError } from "../base/errno.ts";
import { inodeMode, inodeParent, setInodeParent } from "../format/inode.ts";
import { ROOT_INO } from "../format/pfs.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { type Entry, addEntry, checkName, findEntry, redirectEntry, removeEntry } from "./directories.ts";
import { directoryOf, editInode, inodeOf, touchContent, touchInode } from "./inodes.ts";
import { isDirectory } from "./mode.ts";
import { adjustLinks, dropDirectory, dropName, editParent } from "./names.ts";
import { NO_RESULT, type OperationResult, type RenameOperation } from "./operation.ts";

/** Deeper than any path the kernel can walk; only a loop on media goes further. */
const DEPTH_MAX = 100_000;

/** True when directory `ino` is `below` or one of the directories above it. */
function isAncestor(state: PfsState, ino: number, below: number): boolean {
  let at = below;
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    if (at === ino) return true;
    if (at === ROOT_INO) return false;
    at = inodeParent(directoryOf(state, at).view);
  }
  throw new FsError("EIO", `directory ${below} is in a loop`);
}

export function rename(state: PfsState, operation: RenameOperation): OperationResult {
  const { store } = state;
  const { name, newName } = operation;
  if (operation.exchange && !operation.replace) throw new FsError("EINVAL", "NOREPLACE with EXCHANGE");
  checkName(name);
  checkName(newName);
  const from = editParent(state, operation.parent);
  const to = operation.newParent === operation.parent ? from : editParent(state, operation.newParent);
  const source = findEntry(store, from, name);
  if (source === undefined) throw new FsError("ENOENT");
  const target = findEntry(store, to, newName);
  if (target !== undefined && !operation.replace) throw new FsError("EEXIST");
  if (target === undefined && operation.exchange) throw new FsError("ENOENT");

  const moving = isDirectory(inodeMode(inodeOf(state, source.ino).view));
  const replaced = target !== undefined && isDirectory(inodeMode(inodeOf(state, target.ino).view));
  if (from !== to) {
    if (moving && isAncestor(state, source.ino, operation.newParent)) throw new FsError("EINVAL", "under itself");
    if (target !== undefined && replaced && isAncestor(state, target.ino, operation.parent)) {
      throw new FsError(operation.exchange ? "EINVAL" : "ENOTEMPTY");
    }
  }
  // Two names of one inode: nothing is done, both stay (POSIX).
  if (target?.ino === source.ino) return NO_RESULT;
  if (target !== undefined && operation.exchange) return exchange(state, operation, source, target, moving, replaced);
  return move(state, operation, source, target, moving, replaced);
}

function move(
  state: PfsState,
  operation: RenameOperation,
  source: Entry,
  target: Entry | undefined,
  moving: boolean,
  replaced: boolean,
): OperationResult {
  const { store } = state;
  const { time } = operation;
  if (target !== undefined && moving && !replaced) throw new FsError("ENOTDIR");
  if (target !== undefined && !moving && replaced) throw new FsError("EISDIR");
  const from = editParent(state, operation.parent);
  const to = operation.newParent === operation.parent ? from : editParent(state, operation.newParent);

  let orphan: number | undefined;
  if (target === undefined) {
    addEntry(store, to, operation.newName, source.ino, source.type);
    // A new key may push others aside in memory, never change them: the source's key still stands.
  } else {
    if (replaced) {
      dropDirectory(state, target.ino, time);
      adjustLinks(to, -1);
      orphan = target.ino;
    } else if (dropName(state, target.ino, time)) {
      orphan = target.ino;
    }
    redirectEntry(store, to, target.key, source.ino, source.type);
  }
  removeEntry(store, from, source.key);
  touchInode(editInode(state, source.ino), time);
  if (moving && from !== to) {
    setInodeParent(editInode(state, source.ino).view, operation.newParent);
    adjustLinks(from, -1);
    adjustLinks(to, 1);
  }
  touchContent(from, time);
  touchContent(to, time);
  return orphan === undefined ? NO_RESULT : { orphan };
}

function exchange(
  state: PfsState,
  operation: RenameOperation,
  source: Entry,
  target: Entry,
  moving: boolean,
  replaced: boolean,
): OperationResult {
  const { store } = state;
  const { time } = operation;
  const from = editParent(state, operation.parent);
  const to = operation.newParent === operation.parent ? from : editParent(state, operation.newParent);
  redirectEntry(store, from, source.key, target.ino, target.type);
  redirectEntry(store, to, target.key, source.ino, source.type);
  const first = editInode(state, source.ino);
  const second = editInode(state, target.ino);
  touchInode(first, time);
  touchInode(second, time);
  if (from !== to) {
    if (moving) setInodeParent(first.view, operation.newParent);
    if (replaced) setInodeParent(second.view, operation.parent);
    adjustLinks(from, (replaced ? 1 : 0) - (moving ? 1 : 0));
    adjustLinks(to, (moving ? 1 : 0) - (replaced ? 1 : 0));
  }
  touchContent(from, time);
  touchContent(to, time);
  return NO_RESULT;
}
