// POSIX access control lists in the form the kernel passes them as extended attributes: a version, then entries of tag,
// permissions and id. What Linux does with them (posix_acl.c): validity, the mode they stand for, chmod, inheritance.

import { FsError } from "../base/errno.ts";
import { Mode } from "../format/mode.ts";

export const ACL_ACCESS = "system.posix_acl_access";
export const ACL_DEFAULT = "system.posix_acl_default";

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const NO_ID = 0xffff_ffff;

const Tag = { USER_OBJ: 0x01, USER: 0x02, GROUP_OBJ: 0x04, GROUP: 0x08, MASK: 0x10, OTHER: 0x20 } as const;

export interface AclEntry {
  readonly tag: number;
  perm: number;
  /** User or group number; meaningless for the other tags. */
  readonly id: number;
}
export type Acl = AclEntry[];

/** Reads the kernel's form. Undefined when it has no entries, which means removal; EINVAL, EOPNOTSUPP when it is wrong. */
export function parseAcl(value: Uint8Array): Acl | undefined {
  const v = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < HEADER_BYTES || (value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) {
    throw new FsError("EINVAL", "an ACL of the wrong length");
  }
  if (v.getUint32(0, true) !== VERSION) throw new FsError("EOPNOTSUPP", "an ACL of an unknown version");
  const acl: Acl = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    acl.push({ tag: v.getUint16(at, true), perm: v.getUint16(at + 2, true), id: v.getUint32(at + 4, true) });
  }
  if (acl.length === 0) return undefined;
  if (!isValid(acl)) throw new FsError("EINVAL", "an ACL whose entries are out of order or incomplete");
  return acl;
}

export function formatAcl(acl: Acl): Uint8Array {
  const value = new Uint8Array(HEADER_BYTES + acl.length * ENTRY_BYTES);
  const v = new DataView(value.buffer);
  v.setUint32(0, VERSION, true);
  acl.forEach(({ tag, perm, id }, i) => {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    v.setUint16(at, tag, true);
    v.setUint16(at + 2, perm, true);
    v.setUint32(at + 4, tag === Tag.USER || tag === Tag.GROUP ? id : NO_ID, true);
  });
  return value;
}

/** Owner, users, group, groups, mask, others: in this order, the mask required where users or groups are named. */
function isValid(acl: Acl): boolean {
  const order: readonly number[] = [Tag.USER_OBJ, Tag.USER, Tag.GROUP_OBJ, Tag.GROUP, Tag.MASK, Tag.OTHER];
  const counts = new Map<number, number>();
  let place = 0;
  for (const { tag, perm, id } of acl) {
    const here = order.indexOf(tag);
    if (here < place || (perm & ~7) !== 0) return false;
    const named = tag === Tag.USER || tag === Tag.GROUP;
    if (named && id === NO_ID) return false;
    const count = (counts.get(tag) ?? 0) + 1;
    if (!named && count > 1) return false;
    counts.set(tag, count);
    place = here;
  }
  const needsMask = counts.has(Tag.USER) || counts.has(Tag.GROUP);
  return (
    counts.has(Tag.USER_OBJ) &&
    counts.has(Tag.GROUP_OBJ) &&
    counts.has(Tag.OTHER) &&
    (!needsMask || counts.has(Tag.MASK))
  );
}

function entryOf(acl: Acl, tag: number): AclEntry | undefined {
  return acl.find((entry) => entry.tag === tag);
}

/** What the group bits of the mode stand for: the mask where there is one. */
function groupClass(acl: Acl): AclEntry | undefined {
  return entryOf(acl, Tag.MASK) ?? entryOf(acl, Tag.GROUP_OBJ);
}

/** True when the nine bits of the mode say all that the list says. */
export function isPlain(acl: Acl): boolean {
  return acl.every(({ tag }) => tag === Tag.USER_OBJ || tag === Tag.GROUP_OBJ || tag === Tag.OTHER);
}

/** `mode` with the nine permission bits the list stands for. */
export function modeWithAcl(mode: number, acl: Acl): number {
  const user = entryOf(acl, Tag.USER_OBJ)?.perm ?? 0;
  const group = groupClass(acl)?.perm ?? 0;
  const other = entryOf(acl, Tag.OTHER)?.perm ?? 0;
  return (mode & ~Mode.ACCESS) | (user << 6) | (group << 3) | other;
}

/** chmod on a file with an access ACL: owner, mask (or group) and others follow the mode. */
export function aclWithMode(acl: Acl, mode: number): Acl {
  const changed = acl.map((entry) => ({ ...entry }));
  for (const entry of changed) {
    if (entry.tag === Tag.USER_OBJ) entry.perm = (mode >>> 6) & 7;
    if (entry.tag === Tag.OTHER) entry.perm = mode & 7;
  }
  const group = groupClass(changed);
  if (group !== undefined) group.perm = (mode >>> 3) & 7;
  return changed;
}

/** A new file under a default ACL: its access ACL is the default one cut to the mode asked for, and the mode to it. */
export function inheritAcl(defaults: Acl, mode: number): { readonly acl: Acl; readonly mode: number } {
  const acl = defaults.map((entry) => ({ ...entry }));
  for (const entry of acl) {
    if (entry.tag === Tag.USER_OBJ) entry.perm &= (mode >>> 6) & 7;
    if (entry.tag === Tag.OTHER) entry.perm &= mode & 7;
  }
  const group = groupClass(acl);
  if (group !== undefined) group.perm &= (mode >>> 3) & 7;
  return { acl, mode: modeWithAcl(mode, acl) };
}
