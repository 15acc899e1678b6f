// The rules of a file's data blocks, and of the block with its extended attributes.

import { alignDown } from "../src/base/integers.ts";
import { isZero } from "../src/base/uuid.ts";
import { DATA_WINDOW_BYTES } from "../src/format/geometry.ts";
import { offsetOf } from "../src/format/structure.ts";
import { XATTR_ENTRY, XATTR_ENTRY_BYTES, XATTR_HEADER, XATTR_HEADER_BYTES, XATTR_MAGIC } from "../src/format/xattr.ts";
import type { WalkNode } from "../src/walk/tree.ts";
import type { FindingName } from "./findings.ts";
import type { InodeRecord } from "./inode-record.ts";

type Fault = (name: FindingName, detail: string) => void;

/** True when a block of data may begin at `offset`: aligned to its size, within one window. */
export function dataFits(offset: number, sizeBytes: number): boolean {
  return offset % sizeBytes === 0 && offset + sizeBytes <= alignDown(offset, DATA_WINDOW_BYTES) + DATA_WINDOW_BYTES;
}

/** Checks one data block of `inode`; called in rising order of offsets. */
export function checkData(node: WalkNode, block: DataView, inode: InodeRecord, fault: Fault): void {
  const { key: offset, sizeBytes } = node;
  const end = offset + sizeBytes;
  if (!dataFits(offset, sizeBytes)) fault("data-alignment", `data of ${sizeBytes} bytes at byte ${offset}`);
  if (offset < inode.dataEnd)
    fault("data-overlap", `data at byte ${offset} begins before the end of the last, ${inode.dataEnd}`);
  inode.dataEnd = Math.max(inode.dataEnd, end);
  if (inode.trim) return;
  if (offset >= inode.size) fault("data-past-end", `data at byte ${offset}, past the end at ${inode.size}`);
  else if (end > inode.size) {
    const tail = new Uint8Array(block.buffer, block.byteOffset + inode.size - offset, end - inode.size);
    if (!isZero(tail)) fault("data-tail", `bytes after the end at ${inode.size} are not zero`);
  }
}

const MAGIC = offsetOf(XATTR_HEADER, "magic");
const COUNT = offsetOf(XATTR_HEADER, "count");
const USED = offsetOf(XATTR_HEADER, "usedBytes");
const NAME_BYTES = offsetOf(XATTR_ENTRY, "nameBytes");
const VALUE_BYTES = offsetOf(XATTR_ENTRY, "valueBytes");
const PREFIXES = ["user.", "trusted.", "security.", "system.posix_acl_"];

/** What is wrong with a block of extended attributes; undefined when nothing is. */
export function xattrFault(v: DataView): string | undefined {
  const bytes = new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
  if (v.getUint32(MAGIC, true) !== XATTR_MAGIC) return "not a block of extended attributes";
  const count = v.getUint32(COUNT, true);
  const used = v.getUint32(USED, true);
  if (used < XATTR_HEADER_BYTES || used > v.byteLength) return `${used} bytes in use of ${v.byteLength}`;
  if (!isZero(bytes.subarray(offsetOf(XATTR_HEADER, "reserved"), XATTR_HEADER_BYTES)))
    return "reserved bytes are not zero";
  if (!isZero(bytes.subarray(used))) return "bytes after the last entry are not zero";
  if (count === 0) return "no entries";
  const names = new Set<string>();
  let at = XATTR_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + XATTR_ENTRY_BYTES > used) return `entry ${i} begins past the end`;
    const nameAt = at + XATTR_ENTRY_BYTES;
    const valueAt = nameAt + v.getUint8(at + NAME_BYTES);
    const end = valueAt + v.getUint32(at + VALUE_BYTES, true);
    if (valueAt === nameAt || end > used) return `entry ${i} is out of bounds`;
    if (!isZero(bytes.subarray(at + 1, at + 4))) return `entry ${i}: reserved bytes are not zero`;
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + nameAt, valueAt - nameAt).toString("latin1");
    if (name.includes("\0") || !PREFIXES.some((prefix) => name.startsWith(prefix)))
      return `entry ${i} has no name for an attribute`;
    if (names.has(name)) return `two entries have the name of entry ${i}`;
    names.add(name);
    at = end;
  }
  return at === used ? undefined : `${used} bytes in use, the entries take ${at}`;
}
