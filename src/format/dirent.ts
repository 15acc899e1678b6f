// Directory entries: blockrefs of type dirent in a directory's tree, keyed by a hash of the name. A name of up to 80
// bytes lies in the blockref itself, a longer one in a 1 KiB block. Names of one directory whose hashes are equal take
// the following keys, up to 16 of them; a lookup always looks through all 16, so a removal needs no tombstone.

import { declareStructure, offsetOf } from "./structure.ts";

export const NAME_BLOCK_BYTES = 1024;
export const NAME_BLOCK_MAGIC = 0x454d414e; // "NAME"
/** Keys set aside for names of equal hash. */
export const NAME_KEY_SLOTS = 16;

export const NAME_BLOCK = declareStructure(
  "name-block",
  NAME_BLOCK_BYTES,
  "A directory entry's name of more than 80 bytes.",
  [
    { name: "magic", type: "u32", meaning: '"NAME"' },
    { name: "reserved1", type: "reserved", sizeBytes: 4, meaning: "zero" },
    { name: "name", type: "bytes", sizeBytes: 256, meaning: "the name, zero-padded; its length is in the blockref" },
    { name: "reserved2", type: "reserved", sizeBytes: 760, meaning: "zero" },
  ],
);

export const NAME_BLOCK_MAGIC_OFFSET = offsetOf(NAME_BLOCK, "magic");
export const NAME_BLOCK_NAME_OFFSET = offsetOf(NAME_BLOCK, "name");

/** MurmurHash3's 32-bit finalizer: spreads every input bit over the whole word. */
function finalize(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/**
 * First of the 16 keys a name may have: a 48-bit hash of its bytes, times 16. The hash is two 32-bit FNV-1a lanes
 * (offset bases 0x811c9dc5 and 0x9747b28c, multipliers 0x01000193 and 0x5bd1e995), each passed through MurmurHash3's
 * finalizer; all of the first lane and the high 16 bits of the second are used.
 */
export function nameKey(name: Uint8Array): number {
  let first = 0x811c9dc5 | 0;
  let second = 0x9747b28c | 0;
  for (let i = 0; i < name.length; i++) {
    const byte = name[i] as number;
    first = Math.imul(first ^ byte, 0x01000193);
    second = Math.imul(second ^ byte, 0x5bd1e995);
  }
  return (finalize(first) * 0x1_0000 + (finalize(second) >>> 16)) * NAME_KEY_SLOTS;
}

/** st_mode's type bits, shifted: the d_type of directory entries. */
export function entryTypeOf(mode: number): number {
  return (mode >>> 12) & 0x0f;
}
