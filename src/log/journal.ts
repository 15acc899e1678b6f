// The journal: the stream of records since the newest durable root, in a ring of memory. A record is in it before the
// operation it describes is answered. The memory may be shared with a process that outlives this one: whoever comes after
// us then goes on from here, after a look at which root is the newest on media.
// Invariants: I4; I6 and I11 (a root is known by its sequence, its epoch and the random id of its log: others may have gone on from the
// same root, in the same epoch, and given its number, too), I2 (a root that was issued may be on copies that whoever comes after us does
// not see: by its terms enough must be left here).
// Positions count the bytes of the stream from its beginning. Every number in the head is one aligned 8-byte store, so that a
// process killed between any two of them leaves a head that still tells the truth.

import { assert } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import { rootEpoch, rootSequence } from "../format/root-block.ts";
import { rootLogId } from "../format/root-log.ts";
import type { RootTerms } from "../format/root-terms.ts";

/** Of a mount: room for what was completed since the last commit; a commit begins when a quarter of it is used. */
export const JOURNAL_BYTES = 16 * 1024 * 1024;
const HEAD_BYTES = 1056;
/** Another one for each form that a journal had: no program goes on from one of another form. */
const MAGIC = 0x4832_4a52;
/** What one record takes at most: 1 MiB of data and what describes it. */
export const RECORD_BYTES_MAX = 1024 * 1024 + 64 * 1024;
/** Room kept for what is written again behind a root: as many results as there may be requests without an answer. */
const RESULTS_BYTES_MAX = 256 * 1024;

const Head = {
  MAGIC: 0,
  START: 1,
  END: 2,
  BASE: 3,
  SEAL: 4,
  SEAL_SEQUENCE: 5,
  LANDED: 6,
  ANSWERED: 7,
  ISSUED: 8,
  FAILED: 9,
  /** The marks of the roots BASE and SEAL_SEQUENCE. */
  BASE_MARK: 10,
  SEAL_MARK: 14,
  STATE: 18,
  /** From here on: places of records that wait for their blocks, each plus one; 0 for none. */
  WAITING: 20,
  /** The last root of which the terms are known. Versions that don't tell leave this behind ISSUED. */
  TERMS_UP_TO: 115,
  /** From here on: terms of roots, each as one number; 0 for none. */
  TERMS: 116,
} as const;
const MARK_WORDS = 4;
/** More than roots of different terms are issued before one is durable on all: each but the last was issued with a copy that failed. */
const TERMS_MAX = HEAD_BYTES / 8 - Head.TERMS;
/** What the head tells; 0: nothing. */
const State = { ROOT: 1, RECORDS: 2 } as const;
/** More than requests are ever carried out together (src/fuse/kernel/session.ts). */
const WAITING_MAX = Head.TERMS_UP_TO - Head.WAITING;

/** What a process before us completed after a root. Positions count from where that root ends the stream. */
export interface Kept {
  readonly stream: Uint8Array;
  /** Before this, what records name besides themselves had reached every copy. */
  readonly landedBytes: number;
  /** Before this, every request was answered. */
  readonly answeredBytes: number;
  /** Where the records begin of those that were not answered yet because their blocks were on the way. */
  readonly waiting: ReadonlySet<number>;
}

export class Journal {
  readonly #head: Float64Array;
  readonly #ring: Uint8Array;

  /** `memory` is all zero, or that of a process that is gone. Its address is a multiple of 8. */
  constructor(memory: Uint8Array) {
    assert(memory.length >= HEAD_BYTES + 2 * RECORD_BYTES_MAX, "memory for a journal is too small");
    this.#head = new Float64Array(memory.buffer, memory.byteOffset, HEAD_BYTES / 8);
    this.#ring = memory.subarray(HEAD_BYTES);
    if (this.#head[Head.MAGIC] === 0) this.#head[Head.MAGIC] = MAGIC;
    if (this.#head[Head.MAGIC] !== MAGIC) throw new FsError("EIO", "the memory of the journal is no journal");
  }

  #get(field: number): number {
    return this.#head[field] as number;
  }

  /** True when it says which root a process before us had. */
  get hasRoot(): boolean {
    return this.#get(Head.STATE) !== 0;
  }

  /** True when what that process completed is here, and not in a log only. */
  get hasRecords(): boolean {
    return this.#get(Head.STATE) === State.RECORDS;
  }

  /** Where the records begin that the newest durable root lacks. */
  get startBytes(): number {
    return this.#get(Head.START);
  }

  get endBytes(): number {
    return this.#get(Head.END);
  }

  /** Below this, what records name besides themselves has reached every copy's device, flushed or not. */
  get landedBytes(): number {
    return this.#get(Head.LANDED);
  }

  set landedBytes(position: number) {
    this.#head[Head.LANDED] = position;
  }

  /** Whoever asked for what is recorded before this has been answered. */
  set answeredBytes(position: number) {
    this.#head[Head.ANSWERED] = position;
  }

  /** The highest sequence of any root sealed: one may be on a copy that is not at hand. */
  get issuedSequence(): number {
    return this.#get(Head.ISSUED);
  }

  /** Bit per copy that failed a write or flush and is in sync by the newest durable root still (I2). */
  get failedCopies(): number {
    return this.#get(Head.FAILED);
  }

  set failedCopies(mask: number) {
    this.#head[Head.FAILED] = mask;
  }

  /** Terms of the newest root that is durable on all copies, and of those issued after it; any of these may be what other copies hold. */
  get terms(): RootTerms[] {
    const found: RootTerms[] = [];
    if (!this.#knowsTerms) return found;
    for (let slot = 0; slot < TERMS_MAX; slot++) {
      const word = this.#get(Head.TERMS + slot);
      if (word !== 0) found.push({ inSync: word & 0xff, minCopies: word >>> 8 });
    }
    return found;
  }

  /** False when a process of a version that does not tell issued a root since. */
  get #knowsTerms(): boolean {
    return this.#get(Head.TERMS_UP_TO) >= this.issuedSequence;
  }

  #forgetTerms(): void {
    for (let slot = 0; slot < TERMS_MAX; slot++) this.#head[Head.TERMS + slot] = 0;
  }

  /** A root of these terms is about to be issued. */
  noteTerms(terms: RootTerms): void {
    const slots = Array.from({ length: TERMS_MAX }, (_, slot) => Head.TERMS + slot);
    if (slots.some((slot) => this.#get(slot) === wordOf(terms))) return;
    const free = slots.find((slot) => this.#get(slot) === 0);
    assert(free !== undefined, "more roots were issued than can be noted");
    this.#head[free] = wordOf(terms);
  }

  /** A root of these terms, noted before, is durable on all copies: those before it count no more. */
  keepTerms(terms: RootTerms): void {
    for (let slot = 0; slot < TERMS_MAX; slot++) {
      if (this.#get(Head.TERMS + slot) !== wordOf(terms)) this.#head[Head.TERMS + slot] = 0;
    }
  }

  /**
   * Says that whoever asked for the record appended next is not answered before `arrived` is called with what this returns.
   * Undefined when too many wait: then it counts as answered.
   */
  awaitBlocks(): number | undefined {
    for (let slot = 0; slot < WAITING_MAX; slot++) {
      const waiting = this.#get(Head.WAITING + slot);
      if (waiting > this.startBytes) continue;
      this.#head[Head.WAITING + slot] = this.endBytes + 1;
      return slot;
    }
    return undefined;
  }

  /** The blocks are with the copies: from now on the request may be answered. */
  arrived(slot: number): void {
    this.#head[Head.WAITING + slot] = 0;
  }

  /** True when a commit should begin, so that there is always room. */
  get wantsCommit(): boolean {
    return this.endBytes - this.startBytes > this.#ring.length / 4;
  }

  /** True when the next record may find no room. */
  get isFull(): boolean {
    return this.endBytes - this.startBytes > this.#ring.length - RECORD_BYTES_MAX - RESULTS_BYTES_MAX;
  }

  /** Appends one record, given in pieces. Returns where it begins. */
  append(pieces: readonly Uint8Array[]): number {
    const from = this.endBytes;
    let at = from;
    for (const piece of pieces) {
      this.#put(piece, at);
      at += piece.length;
    }
    assert(at - this.startBytes <= this.#ring.length, "the journal overflows");
    this.#head[Head.END] = at;
    return from;
  }

  #put(piece: Uint8Array, at: number): void {
    const from = at % this.#ring.length;
    const room = this.#ring.length - from;
    if (piece.length <= room) this.#ring.set(piece, from);
    else {
      this.#ring.set(piece.subarray(0, room), from);
      this.#ring.set(piece.subarray(room));
    }
  }

  /** Copies the bytes of the stream from `position` on into `target`. */
  read(position: number, target: Uint8Array): void {
    assert(position >= this.startBytes && position + target.length <= this.endBytes, "read past the journal");
    const from = position % this.#ring.length;
    const first = this.#ring.subarray(from, Math.min(this.#ring.length, from + target.length));
    target.set(first);
    target.set(this.#ring.subarray(0, target.length - first.length), first.length);
  }

  /** Says that this root, about to be written, will hold everything appended so far. */
  sealed(root: DataView): void {
    const sequence = rootSequence(root);
    assert(sequence > this.issuedSequence, `root ${sequence} is sealed twice`);
    if (!this.#knowsTerms) this.#forgetTerms();
    this.#head[Head.TERMS_UP_TO] = sequence;
    this.#head[Head.ISSUED] = sequence;
    this.#head[Head.SEAL_SEQUENCE] = 0;
    this.#head[Head.SEAL] = this.endBytes;
    this.#setMark(Head.SEAL_MARK, root);
    this.#head[Head.SEAL_SEQUENCE] = sequence;
  }

  /** Where the root sealed last ends the stream. */
  get sealBytes(): number {
    return this.#get(Head.SEAL);
  }

  /** The root sealed last is durable: what it holds is forgotten. */
  rootDurable(): void {
    const sequence = this.#get(Head.SEAL_SEQUENCE);
    assert(sequence !== 0, "a root is durable that was not sealed");
    // In this order: the root before this one does not count any more once what it lacks is forgotten. Until the end this one is
    // known as the one sealed last.
    this.#head[Head.BASE] = 0;
    for (let i = 0; i < MARK_WORDS; i++) this.#head[Head.BASE_MARK + i] = this.#get(Head.SEAL_MARK + i);
    this.#head[Head.BASE] = sequence;
    this.#head[Head.START] = this.#get(Head.SEAL);
    this.#head[Head.SEAL_SEQUENCE] = 0;
  }

  /** Nothing completed before counts: this root is where the stream goes on from. `terms`: of what copies that are here have. */
  begin(root: DataView, terms: readonly RootTerms[] = []): void {
    this.#setRoot(root, State.RECORDS, terms);
  }

  /** This is the root of a volume that is only read: there will be no records, a log goes on from it. */
  remember(root: DataView): void {
    this.#setRoot(root, State.ROOT, []);
  }

  #setRoot(root: DataView, state: number, terms: readonly RootTerms[]): void {
    this.#head[Head.STATE] = 0;
    this.#head[Head.BASE] = 0;
    this.#head[Head.SEAL_SEQUENCE] = 0;
    this.#forgetTerms();
    for (const one of terms) this.noteTerms(one);
    this.#head[Head.START] = this.endBytes;
    this.#head[Head.LANDED] = this.endBytes;
    this.#head[Head.ISSUED] = rootSequence(root);
    this.#head[Head.TERMS_UP_TO] = rootSequence(root);
    this.#setMark(Head.BASE_MARK, root);
    this.#head[Head.BASE] = rootSequence(root);
    this.#head[Head.STATE] = state;
  }

  #setMark(field: number, root: DataView): void {
    for (const [i, word] of markOf(root).entries()) this.#head[field + i] = word;
  }

  /** Where this root ends the stream, if it is the newest durable one or one sealed after it. */
  #endOf(root: DataView): number | undefined {
    const [sequence, mark] = [rootSequence(root), markOf(root)];
    const is = (field: number, markField: number): boolean =>
      sequence !== 0 && sequence === this.#get(field) && mark.every((word, i) => word === this.#get(markField + i));
    if (is(Head.SEAL_SEQUENCE, Head.SEAL_MARK)) return this.sealBytes;
    return is(Head.BASE, Head.BASE_MARK) ? this.startBytes : undefined;
  }

  /** Whether this root is the newest durable one, or one sealed after it. */
  knows(root: DataView): boolean {
    return this.#endOf(root) !== undefined;
  }

  /**
   * What a process before us completed after `root`, the newest on media; undefined when that is none the journal knows, so
   * that it tells nothing about it.
   */
  after(root: DataView): Kept | undefined {
    const from = this.#endOf(root);
    if (from === undefined) return undefined;
    const stream = new Uint8Array(this.endBytes - from);
    this.read(from, stream);
    const since = (field: number): number => Math.max(0, this.#get(field) - from);
    const waiting = new Set<number>();
    for (let slot = 0; slot < WAITING_MAX; slot++) waiting.add(this.#get(Head.WAITING + slot) - 1 - from);
    return { stream, landedBytes: since(Head.LANDED), answeredBytes: since(Head.ANSWERED), waiting };
  }
}

/** One number, so that it is stored as one. */
const wordOf = ({ inSync, minCopies }: RootTerms): number => inSync | (minCopies << 8);

/** What tells a root from others of its number, as a number for each 32 bits: its epoch and the id of its log, both random. */
function markOf(root: DataView): Uint32Array {
  const mark = new Uint32Array(rootEpoch(root).slice().buffer);
  const logId = new Uint32Array(rootLogId(root).slice().buffer);
  return mark.map((word, i) => word ^ (logId[i] as number));
}
