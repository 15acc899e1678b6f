// Looks at everything the verifier hands over: PFS and inode blocks, data, xattrs, orphan marks, freemap leaves; and
// in a second walk, when all inodes are known, directories. Remembers where the tree could not be followed, because
// what is missing there must not be taken for a fault elsewhere, and nothing may be freed on such evidence.

import {
  RefType,
  refCheckType,
  refEntryInode,
  refEntryType,
  refFreeChunks,
  refFreeKib,
  refPointer,
  REF_CHECK_OFFSET,
} from "../src/format/blockref.ts";
import { CHECK_BYTES_MAX } from "../src/format/check.ts";
import { entryTypeOf } from "../src/format/dirent.ts";
import { COPIES_MAX, KIB } from "../src/format/geometry.ts";
import { inodeNumber } from "../src/format/inode.ts";
import {
  PFS,
  PFS_BYTES,
  PFS_MAGIC,
  pfsId,
  pfsInodeCount,
  pfsMagic,
  pfsNextIno,
  ROOT_PFS_ID,
} from "../src/format/pfs.ts";
import { firstDirtyReserved } from "../src/format/structure.ts";
import { BlockClaims } from "../src/walk/claims.ts";
import { nodePlace, type TreeKind, treeOwner, type WalkNode, type WalkTree } from "../src/walk/tree.ts";
import type { Fault, VerifyConsumer, VerifyRule } from "../src/walk/verify.ts";
import type { Bruise } from "./bruise.ts";
import { checkData, xattrFault } from "./check-data.ts";
import { type Entry, HashNeighbours, keyFits, nameFault, printableName, readEntry } from "./check-entry.ts";
import { checkInode } from "./check-inode.ts";
import type { FindingList } from "./finding-list.ts";
import type { FindingName } from "./findings.ts";
import { InodeRecord } from "./inode-record.ts";
import { RefRepairs } from "./ref-repair.ts";
import { act, type PlacedBlock, type Repair } from "./repair-plan.ts";

/** Faults after which the block concerned, and all below it, was not seen. */
const LEAVES_A_GAP: ReadonlySet<VerifyRule> = new Set<VerifyRule>([
  "block-lost",
  "block-unseen",
  "ref-number",
  "ref-type",
  "ref-level",
  "ref-size",
  "ref-methods",
  "run-gap",
  "empty-indirect",
  "key-order",
  "key-range",
]);
/** Faults after which space on a copy may be in use although nothing was seen to use it. */
const HIDES_SPACE: ReadonlySet<VerifyRule> = new Set<VerifyRule>(["pointer-range", "pointer-null", "block-unseen"]);

/** Trees whose items have a block with nothing below it: where that lies is in the ref, whether it can be read or not. */
const ENDS_IN_ITEMS: ReadonlySet<TreeKind> = new Set<TreeKind>(["data", "xattrs", "directory"]);

/** A freemap leaf as it was found. */
export interface FoundLeaf {
  readonly words: Uint32Array;
  readonly freeKib: number;
  readonly freeChunks: number;
}

/** Leaves that were not seen: first ≤ index < end. */
export interface UnseenLeaves {
  readonly first: number;
  readonly end: number;
}

export class Content implements VerifyConsumer {
  readonly inodes = new Map<number, InodeRecord>();
  /** Inode numbers with an orphan mark. */
  readonly marks = new Set<number>();
  /** Leaves by copy index and leaf index. */
  readonly leaves: readonly Map<number, FoundLeaf>[] = Array.from(
    { length: COPIES_MAX },
    () => new Map<number, FoundLeaf>(),
  );
  /** Directory trees, to be walked when all inodes are known. */
  readonly directories: WalkTree[] = [];
  pfs: { readonly inodeCount: number; readonly nextIno: number } | undefined;
  /** Something could not be followed at all. */
  gap = false;
  /** And it is not given up either: what lies below is in use. */
  openGap = false;
  /** Some inodes, or some orphan marks, were not seen. */
  inodeGap = false;
  markGap = false;
  /** Some entries were not seen, so names can't be counted. */
  entryGap = false;
  /** By copy index: see `isContested`. */
  readonly #contested: readonly BlockClaims[] = Array.from({ length: COPIES_MAX }, () => new BlockClaims());
  /** Copies whose freemap could not be read as a whole, and what of it. */
  readonly freemapGaps = new Map<number, UnseenLeaves[]>();
  readonly #list: FindingList;
  readonly #sequence: number;
  readonly #onProgress: ((bytes: number) => void) | undefined;
  readonly #neighbours = new Map<number, HashNeighbours>();
  readonly #abandon: boolean;
  /** By the number that it says: what was found in the index under another one. */
  readonly #misnumbered = new Map<number, Bruise[]>();
  readonly #refs = new RefRepairs();
  #enterDirectories = false;

  /** `abandon`: lost blocks that nothing else would ever remove are given up. */
  constructor(list: FindingList, sequence: number, abandon = false, onProgress?: (bytes: number) => void) {
    this.#list = list;
    this.#sequence = sequence;
    this.#abandon = abandon;
    this.#onProgress = onProgress;
  }

  /** From now on directory trees are entered, not set aside. */
  beginDirectories(): WalkTree[] {
    this.#enterDirectories = true;
    return this.directories;
  }

  progress(_blocks: number, bytes: number): void {
    this.#onProgress?.(bytes);
  }

  fault(fault: Fault): void {
    const { rule, tree, node, copy, detail } = fault;
    const place: { copy?: number; ino?: number; repair?: Repair } = {};
    if (copy >= 0) place.copy = copy;
    const ino = inodeOf(tree, node);
    if (ino !== undefined) place.ino = ino;
    // What is not listed is repaired when it is: until then nothing is kept of it in memory (I12).
    const repair = this.#list.keeps(rule) ? this.#repairOf(fault) : undefined;
    if (repair !== undefined) place.repair = repair;
    if (rule === "block-shared" && node !== undefined) this.#noteShared(node, fault);
    this.#list.add(rule, `${node === undefined ? treeOwner(tree) : nodePlace(node)}: ${detail}`, place);
    if (LEAVES_A_GAP.has(rule)) this.#noteGap(tree, node, rule === "block-lost" && repair !== undefined);
    // It is not seen, but where it lies is known.
    if (rule === "block-absent" && node !== undefined) this.#count(tree.owner, node.sizeBytes);
    if (HIDES_SPACE.has(rule)) this.gap = this.openGap = true;
  }

  /** Whether several blockrefs name (a part of) this place: nothing may be written over there, nor may it be called free. */
  isContested(copy: number, kib: number, sizeKib: number): boolean {
    return this.#contested[copy]?.overlaps(kib, sizeKib) ?? false;
  }

  #noteShared(node: WalkNode, { copy, sharing }: Fault): void {
    this.#contested[copy]?.claim(refPointer(node.view, node.at, copy), node.sizeBytes / KIB);
    if (node.type !== RefType.INODE || sharing !== "right") return;
    for (const bruise of this.#misnumbered.get(node.key) ?? []) bruise.isOther = true;
  }

  #repairOf(fault: Fault): Repair | undefined {
    const { rule, tree, node, copy } = fault;
    if (rule === "block-bad" && node !== undefined) return blockRepair(node, copy);
    if (rule === "block-lost" && node !== undefined && this.#isGivenUp(tree)) {
      const dropped = this.#refs.drop(node);
      return dropped && { ...dropped, givesUp: placedBlock(node) };
    }
    return tree.kind === "freemap" ? { kind: "freemap" } : this.#refs.of(fault);
  }

  /** Data and attributes of a file go with the file; all but what lies below a lost indirect block, which nothing names any more. */
  #isGivenUp({ kind, owner }: WalkTree): boolean {
    if (!this.#abandon) return false;
    if (kind === "data" || kind === "xattrs") return this.inodes.get(owner)?.nlink === 0;
    return kind === "inodes" || kind === "orphans" || kind === "directory";
  }

  repeated(node: WalkNode): void {
    this.#noteGap(node.tree, node);
  }

  enter(tree: WalkTree): boolean {
    if (tree.kind !== "directory" || this.#enterDirectories) return true;
    this.directories.push(tree);
    return false;
  }

  item(node: WalkNode, block: DataView | undefined): boolean {
    if (node.type === RefType.INDIRECT) return true;
    switch (node.tree.kind) {
      case "super-root":
        return block !== undefined && this.#pfs(node, block);
      case "inodes":
        return block !== undefined && this.#inode(node, block);
      case "orphans":
        this.marks.add(node.key);
        return true;
      case "data":
        if (block !== undefined) this.#data(node, block);
        return true;
      case "xattrs":
        if (block !== undefined) this.#xattrs(node, block);
        return true;
      case "directory":
        this.#entry(node, block);
        return true;
      case "freemap":
        if (block !== undefined) this.#leaf(node, block);
        return true;
    }
  }

  #noteGap(tree: WalkTree, node: WalkNode | undefined, isGivenUp = false): void {
    // A lost freemap block hides a bitmap, and itself is all there is to be leaked; one of an item was claimed before it was read.
    const isItem = node !== undefined && node.level === 0 && ENDS_IN_ITEMS.has(tree.kind);
    if (tree.kind !== "freemap" && !isItem) {
      this.gap = true;
      if (!isGivenUp) this.openGap = true;
    }
    switch (tree.kind) {
      case "super-root":
      case "inodes":
        this.inodeGap = true;
        this.entryGap = true;
        if (tree.kind === "super-root") this.markGap = true;
        return;
      case "orphans":
        this.markGap = true;
        return;
      case "directory":
        this.entryGap = true;
        this.#incomplete(tree.owner);
        return;
      case "data":
      case "xattrs":
        // An unreadable data block still counts as used space; an indirect block hides what is below it.
        if (isItem) this.#count(tree.owner, node.sizeBytes);
        else this.#incomplete(tree.owner);
        return;
      case "freemap":
        this.#noteUnseenLeaves(tree.owner, node);
        return;
    }
  }

  /** Without a node it is not known which. */
  #noteUnseenLeaves(copy: number, node: WalkNode | undefined): void {
    const first = node?.key ?? 0;
    const end = node === undefined ? Infinity : node.level === 0 ? first + 1 : node.keyEnd;
    const unseen = this.freemapGaps.get(copy);
    if (unseen === undefined) this.freemapGaps.set(copy, [{ first, end }]);
    else unseen.push({ first, end });
  }

  #incomplete(ino: number): void {
    const inode = this.inodes.get(ino);
    if (inode !== undefined) inode.incomplete = true;
  }

  #count(ino: number, bytes: number): void {
    const inode = this.inodes.get(ino);
    if (inode !== undefined) inode.foundKib += bytes / 1024;
  }

  #pfs(node: WalkNode, v: DataView): boolean {
    const bytes = new Uint8Array(v.buffer, v.byteOffset, PFS_BYTES);
    const wrong = (detail: string, repair?: Repair): void =>
      this.#list.add("pfs-fields", `PFS ${node.key}: ${detail}`, repair && { repair });
    if (node.key !== ROOT_PFS_ID || pfsMagic(v) !== PFS_MAGIC) {
      wrong(node.key === ROOT_PFS_ID ? "its block is not a PFS" : "this version knows one PFS only, number 1");
      this.#noteGap(node.tree, node);
      return false;
    }
    const repair = this.#bruised(node, v);
    try {
      if (pfsId(v) !== node.key) wrong(`its block says it is PFS ${pfsId(v)}`, repair);
      else {
        if (firstDirtyReserved(PFS, bytes) !== undefined || v.getUint32(4, true) !== 0)
          wrong("reserved bytes or flags are not zero", repair);
        this.pfs = { inodeCount: pfsInodeCount(v), nextIno: pfsNextIno(v) };
        return true;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      wrong(error.message, repair);
    }
    this.#noteGap(node.tree, node);
    return false;
  }

  #bruised(node: WalkNode, block: DataView): Repair {
    return { kind: "bruise", bruise: this.#refs.bruise(node, block) };
  }

  #inode(node: WalkNode, v: DataView): boolean {
    const ino = node.key;
    const { record, faults } = checkInode(v, ino, this.#sequence);
    for (const { name, detail } of faults) {
      const place: { ino: number; repair?: Repair } = { ino };
      // Without its magic nothing in the block can be believed.
      if (name === "inode-magic") place.repair = act({ kind: "drop-inode", ino });
      else if (this.#list.keeps(name)) place.repair = this.#bruised(node, v);
      if (name === "inode-number" && this.#list.keeps(name)) this.#noteMisnumbered(node, v);
      this.#list.add(name, `inode ${ino}: ${detail}`, place);
    }
    if (record === undefined) {
      // It is there, so names of it do not dangle; but nobody knows what it is.
      this.#noteGap(node.tree, node);
      return false;
    }
    this.inodes.set(ino, record);
    return true;
  }

  #noteMisnumbered(node: WalkNode, v: DataView): void {
    const number = inodeNumber(v);
    const known = this.#misnumbered.get(number) ?? [];
    this.#misnumbered.set(number, [...known, this.#refs.bruise(node, v)]);
  }

  #data(node: WalkNode, block: DataView): void {
    const inode = this.inodes.get(node.tree.owner);
    if (inode === undefined) return;
    inode.foundKib += node.sizeBytes / 1024;
    checkData(node, block, inode, (name, detail) => {
      const misplaced = name === "data-alignment" || name === "data-overlap";
      const repair = misplaced ? this.#refs.drop(node) : act({ kind: "trim", ino: inode.ino });
      this.#inodeFinding(name, inode.ino, detail, repair);
    });
  }

  #xattrs(node: WalkNode, block: DataView): void {
    const ino = node.tree.owner;
    this.#count(ino, node.sizeBytes);
    const wrong = xattrFault(block);
    if (wrong !== undefined)
      this.#inodeFinding("xattr-block", ino, `xattrs: ${wrong}`, act({ kind: "drop-xattrs", ino }));
  }

  #inodeFinding(name: FindingName, ino: number, detail: string, repair: Repair | undefined): void {
    this.#list.add(name, `inode ${ino}: ${detail}`, { ino, ...(repair && { repair }) });
  }

  #entry(node: WalkNode, block: DataView | undefined): void {
    const directory = this.inodes.get(node.tree.owner);
    if (directory === undefined) return;
    directory.foundEntries++;
    const entry = readEntry(node, block);
    if (typeof entry === "string") {
      this.#entryFinding("entry-name", node, entry);
      const nameless = { ino: refEntryInode(node.view, node.at), type: refEntryType(node.view, node.at) };
      this.#target(node, directory, nameless, "it");
      return;
    }
    const label = printableName(entry.name);
    const illegal = nameFault(entry.name);
    if (illegal !== undefined) this.#entryFinding("entry-name", node, illegal);
    else if (!keyFits(entry.name, node.key))
      this.#entryFinding("entry-hash", node, `the name ${label} belongs under another key`);
    else if (this.#repeats(directory.ino, node.key, entry.name)) {
      this.#entryFinding("entry-duplicate", node, `the name ${label} is there twice`);
    }
    this.#target(node, directory, entry, label);
  }

  #repeats(directory: number, key: number, name: Uint8Array): boolean {
    let neighbours = this.#neighbours.get(directory);
    if (neighbours === undefined) this.#neighbours.set(directory, (neighbours = new HashNeighbours()));
    return neighbours.repeats(key, name);
  }

  #target(node: WalkNode, directory: InodeRecord, entry: Pick<Entry, "ino" | "type">, label: string): void {
    const target = this.inodes.get(entry.ino);
    if (target === undefined) {
      if (!this.inodeGap)
        this.#entryFinding("entry-dangling", node, `${label} names inode ${entry.ino}, which does not exist`);
      return;
    }
    target.names++;
    if (target.isDirectory) {
      directory.foundDirectories++;
      if (target.foundIn >= 0) {
        this.#entryFinding(
          "directory-names",
          node,
          `${label} names directory ${entry.ino}, which is in directory ${target.foundIn} already`,
        );
      }
    }
    if (target.foundIn < 0) {
      target.foundIn = directory.ino;
      target.foundKey = node.key;
    }
    const type = entryTypeOf(target.mode);
    if (entry.type === type) return;
    this.#list.add(
      "entry-type",
      `${nodePlace(node)}: ${label} is said to be of type ${entry.type}, inode ${entry.ino} is of type ${type}`,
      {
        ino: directory.ino,
        repair: act({ kind: "entry-type", directory: directory.ino, key: node.key, type }),
      },
    );
  }

  #entryFinding(name: FindingName, node: WalkNode, detail: string): void {
    const directory = node.tree.owner;
    this.#list.add(name, `${nodePlace(node)}: ${detail}`, {
      ino: directory,
      repair: act({ kind: "remove-entry", directory, key: node.key }),
    });
  }

  #leaf(node: WalkNode, block: DataView): void {
    const words = new Uint32Array(block.byteLength / 4);
    for (let i = 0; i < words.length; i++) words[i] = block.getUint32(i * 4, true);
    const { view, at } = node;
    const leaf = { words, freeKib: refFreeKib(view, at), freeChunks: refFreeChunks(view, at) };
    this.leaves[node.tree.owner]?.set(node.key, leaf);
  }
}

function inodeOf(tree: WalkTree, node: WalkNode | undefined): number | undefined {
  if (tree.kind === "data" || tree.kind === "directory" || tree.kind === "xattrs") return tree.owner;
  return tree.kind === "inodes" && node?.level === 0 ? node.key : undefined;
}

const blockRepair = (node: WalkNode, copy: number): Repair => ({ kind: "block", copy, ...placedBlock(node) });

function placedBlock(node: WalkNode): PlacedBlock {
  const { view, at } = node;
  const checkAt = view.byteOffset + at + REF_CHECK_OFFSET;
  return {
    pointers: Array.from({ length: COPIES_MAX }, (_, index) => refPointer(view, at, index)),
    checkType: refCheckType(view, at),
    check: new Uint8Array(view.buffer.slice(checkAt, checkAt + CHECK_BYTES_MAX)),
    sizeBytes: node.sizeBytes,
    metadata: node.tree.kind !== "data" || node.level > 0,
  };
}
