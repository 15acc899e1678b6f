// Each rule that a block read from media is held to (I12), by itself: blocks of a sound image pass, with one thing wrong they are
// refused, and the refusal names the rule.

import { describe, expect, it } from "vitest";
import {
  BLOCKREF_BYTES,
  BLOCKSET_REFS,
  RefFlag,
  RefType,
  refKey,
  refLevel,
  refSizeBytes,
  refType,
  setRefEntry,
  setRefFlags,
  setRefKey,
  setRefModifyTid,
  setRefPointer,
  setRefSizeBits,
} from "../../src/format/blockref.ts";
import { nameKey } from "../../src/format/dirent.ts";
import {
  INODE,
  INODE_CONTENT_OFFSET,
  INODE_XATTRS_OFFSET,
  InodeFlag,
  setInodeFlags,
  setInodeMode,
  setInodeNumber,
  setInodeSize,
  setInodeTime,
} from "../../src/format/inode.ts";
import { PFS, PFS_INODES_OFFSET, PFS_ORPHANS_OFFSET, setPfsId } from "../../src/format/pfs.ts";
import { ROOT_SUPER_OFFSET, rootFreemapOffset } from "../../src/format/root-block.ts";
import { offsetOf } from "../../src/format/structure.ts";
import { CorruptBlockStructure } from "../../src/tree/miss.ts";
import { BlockRules } from "../../src/tree/validate.ts";
import { buildGoodImage, LONG_NAME } from "../../fixtures/corrupt/good-image.ts";
import { type EditedRef, ImageEditor } from "../../fixtures/corrupt/image-editor.ts";

const good = buildGoodImage();
const image = new ImageEditor(good);
const rules = new BlockRules(good.copies.map(({ sizeKib }) => sizeKib));
const NO_END = Number.MAX_SAFE_INTEGER;

/** Bytes of a sound block, and how they are held to the rules. */
interface Subject {
  readonly bytes: Uint8Array;
  readonly check: (bytes: Uint8Array, view: DataView) => unknown;
}

/** The block that a ref names; keys in it lie below `keyEnd`. */
function block(ref: EditedRef, itemType: number = RefType.EMPTY, keyEnd = NO_END): Subject {
  const { view } = ref.block;
  const [type, key, level] = [refType(view, ref.at), refKey(view, ref.at), refLevel(view, ref.at)];
  const expected = { type, sizeBytes: refSizeBytes(view, ref.at), key, level, itemType, keyEnd };
  return { bytes: image.open(ref).bytes, check: (bytes, content) => rules.content(bytes, content, expected) };
}

/** A run of refs in the root block. */
function rootRun(at: number, refs: number, itemType: number): Subject {
  return { bytes: image.root.bytes, check: (_, view) => rules.refs(view, at, refs, itemType, undefined, 0, NO_END) };
}

const WINDOW = 65_536;
const longName = image.dataRef(1, nameKey(new TextEncoder().encode(LONG_NAME)), 1);
const SUBJECTS = {
  /** Two data blocks of 64 KiB and one of 32 KiB. */
  file: block(image.inodeRef(3)),
  /** Two indirect blocks. */
  sparse: block(image.inodeRef(7)),
  /** The first of them: 1 KiB blocks in windows 0, 2, … 14. */
  leaf: block(image.dataRef(7, 0, 1), RefType.DATA, 16 * WINDOW),
  /** The second: windows 16 to 22. */
  lastLeaf: block(image.dataRef(7, 16 * WINDOW, 1), RefType.DATA),
  /** Data in the inode, and a block of xattrs. */
  inline: block(image.inodeRef(2)),
  /** Two entries. */
  directory: block(image.inodeRef(4)),
  /** Entries, that with the long name the first. */
  entries: block(longName, RefType.DIRENT),
  pfs: block(image.pfsRef()),
  superRoot: rootRun(ROOT_SUPER_OFFSET, BLOCKSET_REFS, RefType.PFS),
  freemap: rootRun(rootFreemapOffset(0), 1, RefType.FREEMAP),
} as const satisfies Record<string, Subject>;

type Change = (view: DataView) => void;
type Case = readonly [refusal: string, subject: keyof typeof SUBJECTS, change: Change];

/** Holds a copy of the block, changed, to the rules. */
function check(name: keyof typeof SUBJECTS, change: Change = () => undefined): unknown {
  const { bytes, check: held } = SUBJECTS[name];
  const changed = bytes.slice();
  const view = new DataView(changed.buffer);
  change(view);
  return held(changed, view);
}

const FIRST = INODE_CONTENT_OFFSET;
const SECOND = FIRST + BLOCKREF_BYTES;
const AFTER_LAST = FIRST + 3 * BLOCKREF_BYTES;
const METHODS = 1;
const LEVEL = 2;
const NAME_BYTES = 6;
const REGULAR = 8;
const beyond53 = (view: DataView, at: number): void => view.setUint32(at + 4, 0xffff_ffff, true);
const inField = (name: string): number => offsetOf(INODE, name);

const OF_A_RUN: readonly Case[] = [
  ["refs are not packed", "file", (v) => v.setUint8(AFTER_LAST + 100, 1)],
  ["key 65536 is not above 65536", "file", (v) => setRefKey(v, FIRST, WINDOW)],
  ["key 983040 is not above 1048575", "lastLeaf", (v) => setRefKey(v, 0, 15 * WINDOW)],
  ["key 1048576 is not below 1048576", "leaf", (v) => setRefKey(v, 7 * BLOCKREF_BYTES, 16 * WINDOW)],
  ["level 1 where 0 belongs", "file", (v) => v.setUint8(SECOND + LEVEL, 1)],
  ["level 2 where 0 belongs", "leaf", (v) => v.setUint8(LEVEL, 2)],
  ["level 16 is too high", "sparse", (v) => [FIRST, SECOND].forEach((at) => v.setUint8(at + LEVEL, 16))],
];

const OF_A_REF: readonly Case[] = [
  ["ref of type 9 where type 2 belongs", "file", (v) => v.setUint8(FIRST, 9)],
  ["ref of type 2 where type 1 belongs", "sparse", (v) => v.setUint8(SECOND, RefType.DATA)],
  ["ref flags 128 on type 2", "file", (v) => setRefFlags(v, FIRST, RefFlag.DIRTY)],
  ["ref flags 1 on type 1", "sparse", (v) => setRefFlags(v, FIRST, RefFlag.NARROW)],
  ["modifyTid is newer than mirrorTid", "file", (v) => setRefModifyTid(v, SECOND, 1000)],
  ["a ref that is no dirent has a name", "file", (v) => v.setUint8(FIRST + NAME_BYTES, 1)],
  ["dirent without a name or inode", "directory", (v) => v.setUint8(FIRST + NAME_BYTES, 0)],
  ["dirent without a name or inode", "directory", (v) => setRefEntry(v, FIRST, 0, REGULAR, 4)],
  ["a name of 81 bytes in the wrong place", "directory", (v) => setRefEntry(v, FIRST, 2, REGULAR, 81)],
  ["a name of 80 bytes in the wrong place", "entries", (v) => setRefEntry(v, 0, 6, REGULAR, 80)],
  ["a name of 120 bytes in the wrong place", "entries", (v) => setRefSizeBits(v, 0, 0)],
  ["ref of type 2 without a block", "file", (v) => setRefSizeBits(v, FIRST, 0)],
  ["an orphan mark with a block", "pfs", (v) => setRefSizeBits(v, PFS_ORPHANS_OFFSET, 10)],
];

const OF_A_BLOCK_NAMED: readonly Case[] = [
  ["block of 2^9 bytes", "file", (v) => setRefSizeBits(v, FIRST, 9)],
  ["block of 2^17 bytes", "file", (v) => setRefSizeBits(v, FIRST, 17)],
  ["unknown check code 9", "file", (v) => v.setUint8(FIRST + METHODS, 9)],
  ["unknown compression 1", "file", (v) => v.setUint8(FIRST + METHODS, v.getUint8(FIRST + METHODS) | 0x10)],
  ["block of 2048 bytes where 1024 belong", "entries", (v) => setRefSizeBits(v, 0, 11)],
  ["block of 1024 bytes where 2048 belong", "superRoot", (v) => setRefSizeBits(v, ROOT_SUPER_OFFSET, 10)],
  ["block of 8192 bytes where 4096 belong", "freemap", (v) => setRefSizeBits(v, rootFreemapOffset(0), 13)],
  ["indirect block of 32768 bytes", "sparse", (v) => setRefSizeBits(v, FIRST, 15)],
  ["data block of 65536 bytes at offset 1024 is not aligned", "file", (v) => setRefKey(v, FIRST, 1024)],
  ["a pointer to copy 5, which the volume does not have", "file", (v) => setRefPointer(v, FIRST, 5, 1024)],
  ["pointer 64 lies outside copy 0", "file", (v) => setRefPointer(v, FIRST, 0, 64)],
  ["pointer 24320 lies outside copy 1", "file", (v) => setRefPointer(v, FIRST, 1, 24 * 1024 - 256)],
  ["pointer 1025 is not aligned to 64 KiB", "file", (v) => setRefPointer(v, FIRST, 1, 1025)],
  ["a block without any pointer", "file", (v) => [0, 1].forEach((copy) => setRefPointer(v, FIRST, copy, 0))],
];

const OF_CONTENT: readonly Case[] = [
  ["an empty indirect block", "leaf", (v) => new Uint8Array(v.buffer).fill(0)],
  ["2^53", "file", (v) => beyond53(v, FIRST + 8)],
  ["not the PFS its ref names", "pfs", (v) => v.setUint32(0, 1, true)],
  ["not the PFS its ref names", "pfs", (v) => setPfsId(v, 2)],
  ["reserved bytes are not zero", "pfs", (v) => v.setUint8(offsetOf(PFS, "reserved"), 1)],
  ["2^53", "pfs", (v) => beyond53(v, offsetOf(PFS, "nextIno"))],
  ["2^53", "pfs", (v) => beyond53(v, offsetOf(PFS, "inodeCount"))],
  ["ref of type 2 where type 1 belongs", "pfs", (v) => v.setUint8(PFS_INODES_OFFSET, RefType.DATA)],
  ["ref of type 3 where type 8 belongs", "pfs", (v) => v.setUint8(PFS_ORPHANS_OFFSET, RefType.INODE)],
];

const OF_INODES: readonly Case[] = [
  ["not inode 3", "file", (v) => v.setUint32(0, 7, true)],
  ["not inode 3", "file", (v) => setInodeNumber(v, 4)],
  ["inode 3: reserved1 is not zero", "file", (v) => v.setUint8(inField("reserved1"), 1)],
  ["inode 3: reserved2 is not zero", "file", (v) => v.setUint8(inField("reserved2"), 1)],
  ["inode 3: unknown flags 4", "file", (v) => setInodeFlags(v, 4)],
  ["inode 3: size 9007199254740991", "file", (v) => setInodeSize(v, Number.MAX_SAFE_INTEGER)],
  ...["generation", "parent", "size", "entries", "usedKib"].map(
    (field): Case => ["2^53", "file", (v) => beyond53(v, inField(field))],
  ),
  ["2^53", "file", (v) => v.setUint32(inField("mtimeSec") + 4, 0x7fff_ffff, true)],
  ["inode 3: nanoseconds out of range", "file", (v) => setInodeTime(v, 3, { sec: 0, nsec: 1_000_000_000 })],
  ["inode 3: mode", "file", (v) => setInodeMode(v, 0o050644)],
  ["inode 3: mode", "file", (v) => setInodeMode(v, 0o1_100644)],
  ["inode 2: to be trimmed, and has", "inline", (v) => setInodeFlags(v, InodeFlag.INLINE | InodeFlag.TRIM)],
  ["inode 4: to be trimmed, and has", "directory", (v) => setInodeFlags(v, InodeFlag.TRIM)],
  ["ref of type 2 where type 7 belongs", "inline", (v) => v.setUint8(INODE_XATTRS_OFFSET, RefType.DATA)],
  ["key 1 is not below 1", "inline", (v) => setRefKey(v, INODE_XATTRS_OFFSET, 1)],
  ["inode 2: inline data of 600 bytes", "inline", (v) => setInodeSize(v, 600)],
  ["inode 4: inline data of 256 bytes", "directory", (v) => setInodeFlags(v, InodeFlag.INLINE)],
  ["ref of type 4 where type 2 belongs", "directory", (v) => setInodeMode(v, 0o100644)],
  ["ref of type 2 where type 4 belongs", "file", (v) => setInodeMode(v, 0o040755)],
];

describe("sound blocks pass", () => {
  it.each(Object.keys(SUBJECTS) as (keyof typeof SUBJECTS)[])("%s", (name) => {
    expect(check(name)).toBeTypeOf("number");
  });

  it.each<readonly [string, keyof typeof SUBJECTS, Change]>([
    ["file data on fewer copies", "file", (v) => setRefFlags(v, FIRST, RefFlag.NARROW)],
    ["a block that is owed to a copy", "file", (v) => setRefPointer(v, FIRST, 1, 0)],
    ["a file that is to be trimmed", "file", (v) => setInodeFlags(v, InodeFlag.TRIM)],
  ])("%s", (_what, subject, change) => {
    expect(() => check(subject, change)).not.toThrow();
  });
});

describe.each([
  ["a run of refs", OF_A_RUN],
  ["a ref", OF_A_REF],
  ["the block a ref names", OF_A_BLOCK_NAMED],
  ["content", OF_CONTENT],
  ["inodes", OF_INODES],
])("refused: rules of %s", (_kind, cases) => {
  it.each(cases)("%s (%s)", (refusal, subject, change) => {
    expect(() => check(subject, change)).toThrow(CorruptBlockStructure);
    expect(() => check(subject, change)).toThrow(refusal);
  });
});

it("a copy that was attached, or is gone, counts from then on", () => {
  const changing = new BlockRules([0, 24 * 1024]);
  const { bytes } = SUBJECTS.freemap;
  const view = new DataView(bytes.buffer);
  const held = (): number => changing.refs(view, rootFreemapOffset(0), 1, RefType.FREEMAP, undefined, 0, NO_END);
  expect(held).toThrow("a pointer to copy 0");
  changing.setCopySize(0, 16 * 1024);
  expect(held()).toBe(1);
  changing.setCopySize(0, 0);
  expect(held).toThrow("a pointer to copy 0");
});
