// The rules of one directory entry: its name, the key it lies under, and that no entry before it has the same name.

import { equalBytes, isZero } from "../src/base/uuid.ts";
import { REF_NAME_OFFSET, refEntryInode, refEntryType, refNameBytes } from "../src/format/blockref.ts";
import { EMBEDDED_NAME_BYTES } from "../src/format/blockref.ts";
import { NAME_BLOCK, NAME_BLOCK_MAGIC, NAME_BLOCK_NAME_OFFSET, NAME_KEY_SLOTS, nameKey } from "../src/format/dirent.ts";
import { firstDirtyReserved, offsetOf } from "../src/format/structure.ts";
import type { WalkNode } from "../src/walk/tree.ts";

export interface Entry {
  readonly ino: number;
  /** d_type. */
  readonly type: number;
  readonly name: Uint8Array;
}

const NAME_FIELD_BYTES = 256;

/** The entry at `node`, or what is wrong with how its name is kept. */
export function readEntry(node: WalkNode, block: DataView | undefined): Entry | string {
  const { view, at } = node;
  const length = refNameBytes(view, at);
  const entry = (name: Uint8Array): Entry => ({ ino: refEntryInode(view, at), type: refEntryType(view, at), name });
  if (length === 0) return "a name of no bytes";
  if (block === undefined) {
    if (length > EMBEDDED_NAME_BYTES) return `a name of ${length} bytes without a block`;
    return entry(new Uint8Array(view.buffer, view.byteOffset + at + REF_NAME_OFFSET, length));
  }
  if (length <= EMBEDDED_NAME_BYTES) return `a name of ${length} bytes in a block`;
  const bytes = new Uint8Array(block.buffer, block.byteOffset, block.byteLength);
  if (block.getUint32(offsetOf(NAME_BLOCK, "magic"), true) !== NAME_BLOCK_MAGIC) return "its name block is not one";
  if (firstDirtyReserved(NAME_BLOCK, bytes) !== undefined) return "reserved bytes of its name block are not zero";
  if (!isZero(bytes.subarray(NAME_BLOCK_NAME_OFFSET + length, NAME_BLOCK_NAME_OFFSET + NAME_FIELD_BYTES))) {
    return "bytes after its name are not zero";
  }
  return entry(bytes.subarray(NAME_BLOCK_NAME_OFFSET, NAME_BLOCK_NAME_OFFSET + length));
}

/** Why `name` can't be the name of an entry; undefined when it can. */
export function nameFault(name: Uint8Array): string | undefined {
  if (name.includes(0x2f)) return "a slash in the name";
  if (name.includes(0)) return "a NUL in the name";
  const text = name.length <= 2 ? Buffer.from(name).toString("latin1") : "";
  return text === "." || text === ".." ? `the name ${text}` : undefined;
}

/** True when an entry called `name` may lie under `key`. */
export function keyFits(name: Uint8Array, key: number): boolean {
  const first = nameKey(name);
  return key >= first && key < first + NAME_KEY_SLOTS;
}

/** The names under one hash in a directory, as they come in rising order of keys. */
export class HashNeighbours {
  #first = -1;
  #names: Uint8Array[] = [];

  /** Notes a name; true when it was there already. */
  repeats(key: number, name: Uint8Array): boolean {
    const first = key - (key % NAME_KEY_SLOTS);
    if (first !== this.#first) {
      this.#first = first;
      this.#names = [];
    }
    if (this.#names.some((other) => equalBytes(other, name))) return true;
    this.#names.push(name);
    return false;
  }
}

/** A name as it may be printed on a terminal. */
export function printableName(name: Uint8Array): string {
  return JSON.stringify(Buffer.from(name).toString("utf8"));
}
