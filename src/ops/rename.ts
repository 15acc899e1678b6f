// rename(2) with its flags, in Linux's order of checks. The kernel makes most of them too; a replayed log has no kernel.
// That no directory comes to lie below itself is seen to before the operation: the way up to the root has no bound. A record
// was accepted once, so nobody need go that way again for it.

import { FsError } from "../base/errno.ts";
import { inodeMode, setInodeParent } from "../format/inode.ts";
import { isDirectory } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { type Entry, addEntry, checkName, findEntry, redirectEntry, removeEntry } from "./directories.ts";
import { editInode, inodeOf, touchContent, touchInode } from "./inodes.ts";
import { adjustLinks, dropDirectory, dropName, editParent, parentOf } from "./names.ts";
import { NO_RESULT, type OperationResult, type RenameOperation } from "./operation.ts";

/** What a rename is about. */
interface Renamed {
  readonly from: Block;
  readonly to: Block;
  readonly source: Entry;
  readonly target: Entry | undefined;
  /** These are directories. */
  readonly moving: boolean;
  readonly replaced: boolean;
}

/** Looks at both names, in directories as `directory` gives them. Throws FsError for what can't be renamed so. */
function find(
  state: PfsState,
  operation: RenameOperation,
  directory: (state: PfsState, ino: number) => Block,
): Renamed {
  const { store } = state;
  const { parent, name, newParent, newName, replace, exchange } = operation;
  if (exchange && !replace) throw new FsError("EINVAL", "NOREPLACE with EXCHANGE");
  checkName(name);
  checkName(newName);
  const from = directory(state, parent);
  const to = newParent === parent ? from : directory(state, newParent);
  const source = findEntry(store, from, name);
  if (source === undefined) throw new FsError("ENOENT");
  const target = findEntry(store, to, newName);
  if (target !== undefined && !replace) throw new FsError("EEXIST");
  if (target === undefined && exchange) throw new FsError("ENOENT");
  const moving = isDirectory(inodeMode(inodeOf(state, source.ino).view));
  const replaced = target !== undefined && isDirectory(inodeMode(inodeOf(state, target.ino).view));
  return { from, to, source, target, moving, replaced };
}

/** A directory, and the one that it is to lie in. */
export interface Move {
  readonly ino: number;
  readonly newParent: number;
}

/** The directories that a rename would give another parent. Throws FsError where the operation would, before any change. */
export function movesOf(state: PfsState, operation: RenameOperation): Move[] {
  const { parent, newParent, exchange } = operation;
  const { source, target, moving, replaced } = find(state, operation, parentOf);
  const moves: Move[] = [];
  if (parent === newParent) return moves;
  if (moving) moves.push({ ino: source.ino, newParent });
  if (target !== undefined && replaced && exchange) moves.push({ ino: target.ino, newParent: parent });
  return moves;
}

export function rename(state: PfsState, operation: RenameOperation): OperationResult {
  const renamed = find(state, operation, editParent);
  const { source, target } = renamed;
  // Two names of one inode: nothing is done, both stay (POSIX).
  if (target?.ino === source.ino) return NO_RESULT;
  if (target !== undefined && operation.exchange) return exchange(state, operation, renamed, target);
  return move(state, operation, renamed);
}

function move(state: PfsState, operation: RenameOperation, renamed: Renamed): OperationResult {
  const { store } = state;
  const { time } = operation;
  const { from, to, source, target, moving, replaced } = renamed;
  if (target !== undefined && moving && !replaced) throw new FsError("ENOTDIR");
  if (target !== undefined && !moving && replaced) throw new FsError("EISDIR");

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
  { from, to, source, moving, replaced }: Renamed,
  target: Entry,
): OperationResult {
  const { store } = state;
  const { time } = operation;
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
