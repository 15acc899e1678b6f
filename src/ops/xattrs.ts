// Operations on extended attributes, ACLs among them: which names an inode may have, and what an ACL does to its mode.

import { FsError } from "../base/errno.ts";
import { inodeMode, setInodeMode } from "../format/inode.ts";
import { Mode, isDirectory, isRegular, isSymlink } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import type { BlockStore } from "../tree/store.ts";
import { ACL_ACCESS, ACL_DEFAULT, aclWithMode, formatAcl, isPlain, modeWithAcl, parseAcl } from "./acl.ts";
import { COPIES_XATTR, setCopies } from "./copies-property.ts";
import { editInode, touchInode } from "./inodes.ts";
import { NO_RESULT, type OperationResult, type RemoveXattrOperation, type SetXattrOperation } from "./operation.ts";
import { copyXattrs, readXattrs, storeXattrs } from "./xattr-block.ts";

const NAME_MAX = 255;
const VALUE_MAX_BYTES = 65536;
/** What a file may do beyond its owner: gone when its content or owner changes. */
export const CAPABILITY = "security.capability";

/** Refuses names h2ts does not keep (EOPNOTSUPP) or not on this type of file (EPERM). `writing`: about to be changed. */
export function checkXattrName(name: string, mode: number, writing: boolean): void {
  if (name.length === 0 || name.length > NAME_MAX) throw new FsError("ERANGE", "an attribute name of the wrong length");
  if (name === ACL_ACCESS || name === ACL_DEFAULT) {
    if (isSymlink(mode)) throw new FsError("EOPNOTSUPP", "symbolic links have no ACL");
    return;
  }
  const dot = name.indexOf(".");
  const prefix = name.slice(0, dot + 1);
  if (prefix !== "user." && prefix !== "trusted." && prefix !== "security.") {
    throw new FsError("EOPNOTSUPP", `extended attributes ${name} are not supported`);
  }
  if (dot + 1 === name.length) throw new FsError("EINVAL", "an attribute name of a prefix only");
  if (prefix === "user." && !isRegular(mode) && !isDirectory(mode)) {
    throw new FsError(writing ? "EPERM" : "ENODATA", "user attributes are for files and directories");
  }
}

export function setXattr(state: PfsState, operation: SetXattrOperation): OperationResult {
  const { store } = state;
  const { name, time } = operation;
  const inode = editInode(state, operation.ino);
  checkXattrName(name, inodeMode(inode.view), true);
  if (operation.value.length > VALUE_MAX_BYTES) throw new FsError("E2BIG");
  if (name === COPIES_XATTR) {
    if (operation.create) throw new FsError("EEXIST");
    setCopies(state, inode, operation.value);
    touchInode(inode, time);
    return NO_RESULT;
  }
  const xattrs = copyXattrs(readXattrs(store, inode));
  if (operation.create && xattrs.has(name)) throw new FsError("EEXIST");
  if (operation.replace && !xattrs.has(name)) throw new FsError("ENODATA");
  const value = name === ACL_ACCESS || name === ACL_DEFAULT ? aclValue(inode, operation) : operation.value;
  if (value === undefined) xattrs.delete(name);
  else xattrs.set(name, value);
  storeXattrs(store, inode, xattrs);
  touchInode(inode, time);
  return NO_RESULT;
}

/** The value to store for an ACL, undefined for none; an access ACL changes the mode on the way. */
function aclValue(inode: Block, operation: SetXattrOperation): Uint8Array | undefined {
  const acl = parseAcl(operation.value);
  const mode = inodeMode(inode.view);
  if (operation.name === ACL_DEFAULT) {
    if (acl !== undefined && !isDirectory(mode)) throw new FsError("EACCES", "only directories have a default ACL");
    return acl === undefined ? undefined : formatAcl(acl);
  }
  if (acl === undefined) return undefined;
  const changed = modeWithAcl(mode, acl);
  setInodeMode(inode.view, operation.killSgid ? changed & ~Mode.SETGID : changed);
  return isPlain(acl) ? undefined : formatAcl(acl);
}

export function removeXattr(state: PfsState, operation: RemoveXattrOperation): OperationResult {
  const { store } = state;
  const inode = editInode(state, operation.ino);
  checkXattrName(operation.name, inodeMode(inode.view), true);
  if (operation.name === COPIES_XATTR) {
    setCopies(state, inode, undefined);
  } else if (!dropXattr(store, inode, operation.name)) {
    // Linux removes an ACL that is not there without complaint.
    if (operation.name === ACL_ACCESS || operation.name === ACL_DEFAULT) return NO_RESULT;
    throw new FsError("ENODATA");
  }
  touchInode(inode, operation.time);
  return NO_RESULT;
}

/** Removes one attribute from a writable inode; false when it had none of that name. */
export function dropXattr(store: BlockStore, inode: Block, name: string): boolean {
  const present = readXattrs(store, inode);
  if (present === undefined || !present.has(name)) return false;
  const xattrs = copyXattrs(present);
  xattrs.delete(name);
  storeXattrs(store, inode, xattrs);
  return true;
}

/** chmod: the access ACL, where there is one, follows the new mode. */
export function applyModeToAcl(store: BlockStore, inode: Block, mode: number): void {
  const xattrs = readXattrs(store, inode);
  const value = xattrs?.get(ACL_ACCESS);
  const acl = value === undefined ? undefined : parseAcl(value);
  if (xattrs === undefined || acl === undefined) return;
  const copies = copyXattrs(xattrs);
  copies.set(ACL_ACCESS, formatAcl(aclWithMode(acl, mode)));
  storeXattrs(store, inode, copies);
}
