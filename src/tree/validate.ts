// Rules that every block read from media is held to before anybody uses it (I12). A check code proves only that the
// parent meant this block; a crafted image has right check codes everywhere. Levels strictly fall, so no walk can cycle.
//
// The checker holds refs to the same rules with src/walk/rules.ts, which goes on behind what is broken; a rule added here belongs
// there, too. Here is only what must hold for a block to be followed without harm. The checker's alone are: unused bytes of a ref,
// `missing` masks, pointers owed without a mask, TIDs against the parent's and the root's, blocks that two refs name or no bitmap
// holds, data that overlaps or lies past the end, and whether counts, links, names and marks agree with each other.

import {
  BLOCKREF_BYTES,
  BLOCKSET_REFS,
  EMBEDDED_NAME_BYTES,
  RefFlag,
  RefType,
  refCheckType,
  refCompression,
  refEntryInode,
  refFlags,
  refKey,
  refLevel,
  refMirrorTid,
  refModifyTid,
  refNameBytes,
  refPointer,
  refSizeBits,
  refType,
} from "../format/blockref.ts";
import { isCheckType } from "../format/check.ts";
import { NAME_BLOCK_BYTES } from "../format/dirent.ts";
import { FREEMAP_LEAF_BYTES, usableRange } from "../format/freemap.ts";
import { COPIES_MAX, FILE_SIZE_MAX, INDIRECT_MAX_BYTES, LEVEL_MAX } from "../format/geometry.ts";
import {
  INLINE_DATA_BYTES,
  INODE,
  INODE_BYTES,
  INODE_CONTENT_OFFSET,
  INODE_MAGIC,
  INODE_XATTRS_OFFSET,
  InodeFlag,
  InodeTime,
  inodeEntries,
  inodeFlags,
  inodeGeneration,
  inodeMagic,
  inodeMode,
  inodeNumber,
  inodeParent,
  inodeSize,
  inodeTimeNsec,
  inodeTimeSec,
  inodeUsedKib,
} from "../format/inode.ts";
import {
  PFS,
  PFS_BYTES,
  PFS_INODES_OFFSET,
  PFS_MAGIC,
  PFS_ORPHANS_OFFSET,
  pfsId,
  pfsInodeCount,
  pfsMagic,
  pfsNextIno,
} from "../format/pfs.ts";
import { firstDirtyReserved } from "../format/structure.ts";
import { CorruptBlockStructure } from "./miss.ts";

/** What the place a block was found at says about it. */
export interface BlockExpectation {
  readonly type: number;
  readonly sizeBytes: number;
  readonly key: number;
  readonly level: number;
  /** Items below, when it is an indirect block. */
  readonly itemType: number;
  /** Keys in it lie in key ≤ k < keyEnd. */
  readonly keyEnd: number;
}

const ITEM_BYTES: Partial<Record<number, number>> = {
  [RefType.INODE]: INODE_BYTES,
  [RefType.DIRENT]: NAME_BLOCK_BYTES,
  [RefType.PFS]: PFS_BYTES,
  [RefType.FREEMAP]: FREEMAP_LEAF_BYTES,
};

function refuse(what: string): never {
  throw new CorruptBlockStructure(what);
}

/** Holds refs and blocks against the rules, for a volume whose copies have the given sizes (KiB, by index; 0 = none). */
export class BlockRules {
  readonly #copyKib: number[];

  constructor(copyKib: readonly number[]) {
    this.#copyKib = [...copyKib];
  }

  /** A copy was attached, or is gone (0). */
  setCopySize(copy: number, sizeKib: number): void {
    this.#copyKib[copy] = sizeKib;
  }

  /**
   * Checks a run of `capacity` refs at byte `at` and returns how many are in use. Those of level 0 are of `itemType`; `level` undefined:
   * any one level. Keys rise from `key` on and stay below `keyEnd`. Plain numbers, since every block that is loaded passes here.
   * Throws CorruptBlockStructure naming the rule that is broken.
   */
  refs(
    view: DataView,
    at: number,
    capacity: number,
    itemType: number,
    level: number | undefined,
    key: number,
    keyEnd: number,
  ): number {
    let count = 0;
    while (count < capacity && refType(view, at + count * BLOCKREF_BYTES) !== RefType.EMPTY) count++;
    for (let i = at + count * BLOCKREF_BYTES; i < at + capacity * BLOCKREF_BYTES; i += 4) {
      if (view.getUint32(i, true) !== 0) refuse("refs are not packed: bytes after the last ref are not zero");
    }
    let previousKey = key - 1;
    const runLevel = level ?? (count > 0 ? refLevel(view, at) : 0);
    for (let i = 0; i < count; i++) {
      const ref = at + i * BLOCKREF_BYTES;
      this.#ref(view, ref, itemType, runLevel);
      const refKeyHere = refKey(view, ref);
      if (refKeyHere <= previousKey) refuse(`key ${refKeyHere} is not above ${previousKey}`);
      if (refKeyHere >= keyEnd) refuse(`key ${refKeyHere} is not below ${keyEnd}`);
      previousKey = refKeyHere;
    }
    return count;
  }

  #ref(view: DataView, at: number, itemType: number, level: number): void {
    const type = refType(view, at);
    if (refLevel(view, at) !== level) refuse(`level ${refLevel(view, at)} where ${level} belongs`);
    if (level > LEVEL_MAX) refuse(`level ${level} is too high`);
    const wanted = level > 0 ? RefType.INDIRECT : itemType;
    if (type !== wanted) refuse(`ref of type ${type} where type ${wanted} belongs`);
    const flags = refFlags(view, at);
    // Only file data lies on fewer copies than there are.
    if (flags !== 0 && (flags !== RefFlag.NARROW || type !== RefType.DATA))
      refuse(`ref flags ${flags} on type ${type}`);
    if (refModifyTid(view, at) > refMirrorTid(view, at)) refuse("modifyTid is newer than mirrorTid");
    if (type !== RefType.DIRENT && refNameBytes(view, at) !== 0) refuse("a ref that is no dirent has a name");
    const bits = refSizeBits(view, at);
    if (type === RefType.DIRENT) {
      const nameBytes = refNameBytes(view, at);
      if (nameBytes === 0 || refEntryInode(view, at) === 0) refuse("dirent without a name or inode");
      const isLong = nameBytes > EMBEDDED_NAME_BYTES;
      if (isLong !== bits > 0) refuse(`a name of ${nameBytes} bytes in the wrong place`);
    }
    if (bits === 0) {
      if (type !== RefType.DIRENT && type !== RefType.ORPHAN) refuse(`ref of type ${type} without a block`);
      return;
    }
    if (type === RefType.ORPHAN) refuse("an orphan mark with a block");
    this.#block(view, at, type, bits);
  }

  #block(view: DataView, at: number, type: number, bits: number): void {
    if (bits < 10 || bits > 16) refuse(`block of 2^${bits} bytes`);
    if (!isCheckType(refCheckType(view, at))) refuse(`unknown check code ${refCheckType(view, at)}`);
    if (refCompression(view, at) !== 0) refuse(`unknown compression ${refCompression(view, at)}`);
    const sizeBytes = 1 << bits;
    const exact = ITEM_BYTES[type];
    if (exact !== undefined && sizeBytes !== exact) refuse(`block of ${sizeBytes} bytes where ${exact} belong`);
    if (type === RefType.INDIRECT && sizeBytes > INDIRECT_MAX_BYTES) refuse(`indirect block of ${sizeBytes} bytes`);
    // Aligned to its size, it crosses no window either.
    if (type === RefType.DATA && refKey(view, at) % sizeBytes !== 0)
      refuse(`data block of ${sizeBytes} bytes at offset ${refKey(view, at)} is not aligned`);
    let pointers = 0;
    const sizeKib = sizeBytes / 1024;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      if (kib === 0) continue;
      pointers++;
      const copyKib = this.#copyKib[copy] ?? 0;
      if (copyKib === 0) refuse(`a pointer to copy ${copy}, which the volume does not have`);
      const [start, end] = usableRange(copyKib);
      if (kib < start || kib + sizeKib > end) refuse(`pointer ${kib} lies outside copy ${copy}`);
      if (kib % sizeKib !== 0) refuse(`pointer ${kib} is not aligned to ${sizeKib} KiB`);
    }
    if (pointers === 0) refuse("a block without any pointer");
  }

  /** Checks the content of a block just read; returns the refs in use when it is an indirect block, else 0. */
  content(bytes: Uint8Array, view: DataView, expected: BlockExpectation): number {
    try {
      return this.#content(bytes, view, expected);
    } catch (error) {
      // A 64-bit field above 2^53 is one more way for a crafted block to be wrong.
      if (error instanceof RangeError) refuse(error.message);
      throw error;
    }
  }

  #content(bytes: Uint8Array, view: DataView, expected: BlockExpectation): number {
    switch (expected.type) {
      case RefType.INDIRECT: {
        const capacity = expected.sizeBytes / BLOCKREF_BYTES;
        const count = this.refs(
          view,
          0,
          capacity,
          expected.itemType,
          expected.level - 1,
          expected.key,
          expected.keyEnd,
        );
        if (count === 0) refuse("an empty indirect block");
        return count;
      }
      case RefType.INODE:
        this.#inode(bytes, view, expected.key);
        return 0;
      case RefType.PFS:
        if (pfsMagic(view) !== PFS_MAGIC || pfsId(view) !== expected.key) refuse("not the PFS its ref names");
        if (firstDirtyReserved(PFS, bytes) !== undefined) refuse("reserved bytes are not zero");
        pfsNextIno(view);
        pfsInodeCount(view);
        this.refs(view, PFS_INODES_OFFSET, BLOCKSET_REFS, RefType.INODE, undefined, 0, Number.MAX_SAFE_INTEGER);
        this.refs(view, PFS_ORPHANS_OFFSET, BLOCKSET_REFS, RefType.ORPHAN, undefined, 0, Number.MAX_SAFE_INTEGER);
        return 0;
      default:
        return 0;
    }
  }

  #inode(bytes: Uint8Array, view: DataView, ino: number): void {
    if (inodeMagic(view) !== INODE_MAGIC || inodeNumber(view) !== ino) refuse(`not inode ${ino}`);
    const reserved = firstDirtyReserved(INODE, bytes);
    if (reserved !== undefined) refuse(`inode ${ino}: ${reserved} is not zero`);
    const flags = inodeFlags(view);
    if ((flags & ~(InodeFlag.INLINE | InodeFlag.TRIM)) !== 0) refuse(`inode ${ino}: unknown flags ${flags}`);
    if (inodeSize(view) > FILE_SIZE_MAX) refuse(`inode ${ino}: size ${inodeSize(view)}`);
    inodeGeneration(view);
    inodeParent(view);
    inodeEntries(view);
    inodeUsedKib(view);
    for (const time of Object.values(InodeTime)) {
      inodeTimeSec(view, time);
      if (inodeTimeNsec(view, time) >= 1e9) refuse(`inode ${ino}: nanoseconds out of range`);
    }
    const format = inodeMode(view) >>> 12;
    if (![1, 2, 4, 6, 8, 10, 12].includes(format) || inodeMode(view) > 0o177777) refuse(`inode ${ino}: mode`);
    if ((flags & InodeFlag.TRIM) !== 0 && ((flags & InodeFlag.INLINE) !== 0 || format === 4))
      refuse(`inode ${ino}: to be trimmed, and has no blocks of data`);
    this.refs(view, INODE_XATTRS_OFFSET, 1, RefType.XATTR, 0, 0, 1);
    if ((flags & InodeFlag.INLINE) !== 0) {
      if (inodeSize(view) > INLINE_DATA_BYTES || format === 4)
        refuse(`inode ${ino}: inline data of ${inodeSize(view)} bytes`);
      return;
    }
    const itemType = format === 4 ? RefType.DIRENT : RefType.DATA;
    this.refs(view, INODE_CONTENT_OFFSET, BLOCKSET_REFS, itemType, undefined, 0, Number.MAX_SAFE_INTEGER);
  }
}
