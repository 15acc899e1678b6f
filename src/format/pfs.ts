// A PFS: a mountable root inside the volume, with its own inode index. Today every volume has exactly one, "ROOT".

import { readU64, writeU64 } from "../base/integers.ts";
import { BLOCKREF, BLOCKSET_REFS } from "./blockref.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const PFS_BYTES = 2048;
export const PFS_MAGIC = 0x53465048; // "HPFS"
const PFS_NAME_BYTES = 64;
/** The PFS every volume has, and its key in the super-root tree. */
export const ROOT_PFS_ID = 1;
/** The root directory's inode number, the node id FUSE starts from. */
export const ROOT_INO = 1;

export const PFS = declareStructure("pfs", PFS_BYTES, "A mountable root: its inode index and its orphans.", [
  { name: "magic", type: "u32", meaning: '"HPFS"' },
  { name: "flags", type: "u32", meaning: "zero" },
  { name: "pfsId", type: "u64", meaning: "key in the super-root tree" },
  { name: "uuid", type: "uuid", meaning: "identity of the PFS" },
  { name: "name", type: "text", sizeBytes: PFS_NAME_BYTES, meaning: "UTF-8, zero-padded" },
  { name: "nextIno", type: "u64", meaning: "the next inode number to give out; numbers are never used again" },
  { name: "inodeCount", type: "u64", meaning: "inodes in the index, orphans included" },
  { name: "reserved", type: "reserved", sizeBytes: 912, meaning: "zero" },
  { name: "inodes", type: BLOCKREF, count: BLOCKSET_REFS, meaning: "inode index: inode blocks by number" },
  {
    name: "orphans",
    type: BLOCKREF,
    count: BLOCKSET_REFS,
    meaning: "marks, by inode number, of inodes to be removed or trimmed",
  },
]);

const MAGIC = offsetOf(PFS, "magic");
const ID = offsetOf(PFS, "pfsId");
const UUID = offsetOf(PFS, "uuid");
const NAME = offsetOf(PFS, "name");
const NEXT_INO = offsetOf(PFS, "nextIno");
const INODE_COUNT = offsetOf(PFS, "inodeCount");
export const PFS_INODES_OFFSET = offsetOf(PFS, "inodes");
export const PFS_ORPHANS_OFFSET = offsetOf(PFS, "orphans");

export const pfsMagic = (v: DataView): number => v.getUint32(MAGIC, true);
export const pfsId = (v: DataView): number => readU64(v, ID);
export const pfsNextIno = (v: DataView): number => readU64(v, NEXT_INO);
export const pfsInodeCount = (v: DataView): number => readU64(v, INODE_COUNT);
export const setPfsId = (v: DataView, id: number): void => writeU64(v, ID, id);
export const setPfsNextIno = (v: DataView, ino: number): void => writeU64(v, NEXT_INO, ino);
export const setPfsInodeCount = (v: DataView, count: number): void => writeU64(v, INODE_COUNT, count);

/** Fills a zeroed PFS block. */
export function initPfs(bytes: Uint8Array, v: DataView, id: number, uuid: Uint8Array, name: string): void {
  v.setUint32(MAGIC, PFS_MAGIC, true);
  writeU64(v, ID, id);
  bytes.set(uuid, UUID);
  bytes.set(new TextEncoder().encode(name).subarray(0, PFS_NAME_BYTES), NAME);
  writeU64(v, NEXT_INO, ROOT_INO);
}
