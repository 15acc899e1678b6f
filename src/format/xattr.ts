// The extended attributes of one inode: one block (1–64 KiB, a power of two) with entries packed after a header.

import { declareStructure } from "./structure.ts";

export const XATTR_MAGIC = 0x54544158; // "XATT"
export const XATTR_HEADER_BYTES = 16;
export const XATTR_ENTRY_BYTES = 8;

export const XATTR_HEADER = declareStructure(
  "xattr-header",
  XATTR_HEADER_BYTES,
  "Opens an xattr block; entries follow.",
  [
    { name: "magic", type: "u32", meaning: '"XATT"' },
    { name: "count", type: "u32", meaning: "number of entries" },
    { name: "usedBytes", type: "u32", meaning: "bytes in use, this header included; the rest is zero" },
    { name: "reserved", type: "reserved", sizeBytes: 4, meaning: "zero" },
  ],
);

export const XATTR_ENTRY = declareStructure(
  "xattr-entry",
  XATTR_ENTRY_BYTES,
  "One attribute: name and value follow, without padding.",
  [
    {
      name: "nameBytes",
      type: "u8",
      meaning: "length of the full name (user.…, trusted.…, security.…, system.…), 1–255",
    },
    { name: "reserved", type: "reserved", sizeBytes: 3, meaning: "zero" },
    { name: "valueBytes", type: "u32", meaning: "length of the value" },
  ],
);
