// What a new inode gets from its directory's default ACL: its mode, its access ACL, and for a directory the default ACL.

import { isDirectory, isSymlink } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { ACL_ACCESS, ACL_DEFAULT, formatAcl, inheritAcl, isPlain, parseAcl } from "./acl.ts";
import { type XattrMap, readXattrs, storeXattrs } from "./xattr-block.ts";

export interface InheritedAccess {
  readonly mode: number;
  /** Values of the ACL attributes to store. */
  readonly access?: Uint8Array;
  readonly defaults?: Uint8Array;
}

/** The mode and ACLs of a new inode in `parent`. Under a default ACL the umask does not count. */
export function inheritAccess(store: BlockStore, parent: Block, mode: number, umask: number): InheritedAccess {
  if (isSymlink(mode)) return { mode };
  const defaults = readXattrs(store, parent)?.get(ACL_DEFAULT);
  const parsed = defaults === undefined ? undefined : parseAcl(defaults);
  if (defaults === undefined || parsed === undefined) return { mode: mode & ~(umask & 0o777) };
  const inherited = inheritAcl(parsed, mode);
  return {
    mode: inherited.mode,
    ...(isPlain(inherited.acl) ? {} : { access: formatAcl(inherited.acl) }),
    // A copy: the value is a view of a cached block, which may leave memory while the new inode is made.
    ...(isDirectory(mode) ? { defaults: defaults.slice() } : {}),
  };
}

export function storeInheritedAcls(
  store: BlockStore,
  inode: Block,
  access: Uint8Array | undefined,
  defaults: Uint8Array | undefined,
): void {
  if (access === undefined && defaults === undefined) return;
  const xattrs: XattrMap = new Map();
  if (access !== undefined) xattrs.set(ACL_ACCESS, access);
  if (defaults !== undefined) xattrs.set(ACL_DEFAULT, defaults);
  storeXattrs(store, inode, xattrs);
}
