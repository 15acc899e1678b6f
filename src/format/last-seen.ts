// What a root remembers of each copy, present or not: which one it is, which root it has, and what is to become of it.
// Accessors: root-members.ts. Invariant: I6.

import type { Uuid } from "../base/uuid.ts";
import { ROW_BYTES } from "./copy-row.ts";
import { declareStructure } from "./structure.ts";
import { TARGET_HINT_BYTES } from "./target-hint.ts";
import { VERSION_BYTES } from "./version-chain.ts";

export const LAST_SEEN = declareStructure("last-seen", 256, "What was last known of one copy.", [
  { name: "copyUuid", type: "uuid", meaning: "identity of the copy; zero when this index has no copy" },
  { name: "epoch", type: "uuid", meaning: "epoch of the newest root written to it" },
  { name: "version", type: "bytes", sizeBytes: VERSION_BYTES, meaning: "version of the newest root written to it" },
  { name: "sequence", type: "u64", meaning: "sequence of the newest root written to it" },
  { name: "sizeKib", type: "u64", meaning: "size of the copy" },
  {
    name: "target",
    type: "text",
    sizeBytes: TARGET_HINT_BYTES,
    meaning: "where it was, a hint for people, zero-padded",
  },
  { name: "issued", type: "u64", meaning: "highest sequence that may have been written to it, in that epoch" },
  {
    name: "flags",
    type: "u8",
    meaning:
      "bit 0 taken offline by the operator; bit 1 its pointers are not trusted; bit 2 leaving; bit 3 joining as a replacement; bit 4 never complete yet; bit 5 selected as master",
  },
  { name: "replaces", type: "u8", meaning: "with bit 3: index of the copy whose place it takes once it is complete" },
  { name: "joined", type: "u64", meaning: "sequence of the root with which it last came into sync; 0 since mkfs" },
  {
    name: "row",
    type: "bytes",
    sizeBytes: ROW_BYTES,
    meaning: "first bytes of SHA-256 over the UUIDs of its nodes in their order; zero while none was ever replaced",
  },
  { name: "reserved", type: "reserved", sizeBytes: 6, meaning: "zero" },
]);

/** Flags of a copy that a root remembers. */
export const MemberFlag = {
  /** The operator took it out: it does not come back by itself. */
  OFFLINE: 0x01,
  /** What its pointers name was not written in our lineage, or may be gone: each is checked before it counts (I6). */
  UNTRUSTED: 0x02,
  /** Detached: its pointers are being cleared, then its index is free. */
  LEAVING: 0x04,
  /** Takes the place of copy `replaces` when complete. */
  REPLACING: 0x08,
  /** Attached and never complete yet: it does not count for how many copies are needed. */
  ARRIVING: 0x10,
  /** The operator selected it: metadata is read from it while it is in sync. At most one has it. */
  MASTER: 0x20,
} as const;

export interface LastSeen {
  readonly copyUuid: Uuid;
  readonly epoch: Uuid;
  readonly version: Uint8Array;
  readonly sequence: number;
  readonly sizeKib: number;
  readonly target: string;
  /** Highest sequence that may have been written to it. */
  readonly issued: number;
  /** MemberFlag. */
  readonly flags: number;
  readonly replaces: number;
  /**
   * Sequence of the root with which it last came into sync: older roots on its ring are of before it was away, and what
   * they name may long be used again on the other copies.
   */
  readonly joined: number;
  /** Which nodes it is made of (`rowOf`); undefined while none was ever replaced. */
  readonly row: Uint8Array | undefined;
}
