// The copies of an open volume as its live root image, its block store and its devices see them, kept in step: who gets new
// blocks, who must have room for them, who is owed what. All changes of membership go through here.
// Invariants: I2 (a failed copy leaves with its unflushed pointers cleared and a new epoch), I6 (what was last seen of a
// copy, and what may have reached it, is noted before and after each root), I8 (a copy joins when nothing is owed to it).

import { bitCount } from "../base/bits.ts";
import { assert } from "../base/assert.ts";
import type { Random } from "../base/random.ts";
import { randomUuid } from "../base/uuid.ts";
import type { Copy } from "../copies/copy.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { CopiesError, CopiesLostError } from "../copies/errors.ts";
import { joinSync, leaveSync, membersWith, recountMembers, replacedBy } from "../copies/membership.ts";
import { onDeviceOf } from "../copies/reopen.ts";
import { ContentLostError } from "../device/device.ts";
import { NO_ERRORS } from "../format/copy-counters.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { cursorCopy } from "../format/revalidate-cursor.ts";
import { MemberFlag } from "../format/last-seen.ts";
import {
  rootEpoch,
  rootFreemapOffset,
  rootInSync,
  rootMinCopies,
  rootRevalidateCursor,
  rootSequence,
  setRootCounters,
  setRootMinCopies,
  setRootRevalidateCursor,
} from "../format/root-block.ts";
import { beginRootEpoch } from "../format/root-history.ts";
import {
  copyRootLastSeenRoot,
  rootLastSeen,
  rootMemberFlags,
  rootMembers,
  setRootIssued,
  setRootLastSeen,
  setRootMemberFlags,
} from "../format/root-members.ts";
import { refIsBare } from "../format/blockref.ts";
import { VERSION_BYTES } from "../format/version-chain.ts";
import { type RootTerms, rootTerms } from "../format/root-terms.ts";
import type { Journal } from "../log/journal.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { clearUnflushed } from "./drop-copy.ts";
import { freemapFor } from "./freemap-trees.ts";

/** A change of membership that operators are told about. */
export interface MemberEvent {
  readonly copyIndex: number;
  readonly what: "dropped" | "joined" | "attached" | "leaving" | "detached";
  readonly detail: string;
}

export class Members {
  readonly #store: BlockStore;
  readonly #copies: CopySet;
  readonly #rootImage: Block;
  readonly #random: Random;
  /** Told of every change, after it. */
  onEvent: (event: MemberEvent) => void = () => undefined;
  /** Called when a copy has become complete and the root that says so is durable. */
  onJoined: (copy: Copy) => void = () => undefined;
  /** Called when a copy left because another one took its place: its pointers are to be cleared. */
  onLeft: (copyIndex: number) => void = () => undefined;
  readonly #timesTakenOut: number[] = [];
  /** What M was before a change that no commit has made durable on every copy yet, and the first that may. */
  #minBefore: { readonly minCopies: number; readonly tid: number } | undefined;
  /**
   * Terms of the last root that is durable on all, and of those issued after it. Any of these may be what copies hold that we go on
   * without, so by each of them enough must be left here that those can't go on, too.
   */
  #issued: readonly RootTerms[];
  /** Has them for whoever takes over. */
  readonly #journal: Journal | undefined;

  /** `issued`: terms of roots that any copy in sync may have as its newest; a crash may have kept the newest of all from some. */
  constructor(
    parts: { readonly store: BlockStore; readonly copies: CopySet; readonly rootImage: Block },
    random: Random,
    issued: readonly RootTerms[] = [],
    journal?: Journal,
  ) {
    this.#store = parts.store;
    this.#copies = parts.copies;
    this.#rootImage = parts.rootImage;
    this.#random = random;
    this.#issued = issued;
    this.#journal = journal;
    this.align();
  }

  get inSync(): number {
    return rootInSync(this.#rootImage.view);
  }

  /** Every copy the volume has, present or not. */
  get all(): number {
    return rootMembers(this.#rootImage.view);
  }

  /** Members on their way out. */
  get leaving(): number {
    return membersWith(this.#rootImage.view, MemberFlag.LEAVING);
  }

  /** Copies whose places others have taken that are in sync: they are to leave. */
  get replaced(): number {
    return replacedBy(this.#rootImage.view, this.inSync);
  }

  get minCopies(): number {
    return rootMinCopies(this.#rootImage.view);
  }

  /** Brings the store in line with the copies' standings and the root image. */
  align(): void {
    const store = this.#store;
    store.targets = 0;
    for (const copy of this.#copies.copies) if (copy.active) store.targets |= copy.bit;
    store.required = store.inSync = this.inSync & store.targets;
    store.owing = this.all & ~this.inSync & ~this.leaving;
    store.leaving = this.leaving;
    if ((this.inSync & (1 << this.#copies.master)) === 0) this.#copies.master = lowest(this.#selected || this.inSync);
  }

  /** Bit of the copy that the operator selected as master, while it is in sync. */
  get #selected(): number {
    const { view } = this.#rootImage;
    return bitsWhere((index) => (rootMemberFlags(view, index) & MemberFlag.MASTER) !== 0) & this.all & this.inSync;
  }

  /** Reads metadata from `copy` first, from now on and at later mounts. Refuses one that is not complete. */
  selectMaster(copy: Copy): void {
    if ((this.inSync & copy.bit) === 0 || copy.failure !== undefined) {
      throw new CopiesError(
        "not-in-sync",
        copy.name,
        `copy ${copy.index} is not in sync; only a complete copy can be the master`,
      );
    }
    const { view } = this.#rootImage;
    for (let index = 0; index < COPIES_MAX; index++) {
      const others = rootMemberFlags(view, index) & ~MemberFlag.MASTER;
      if ((this.all & (1 << index)) !== 0) {
        setRootMemberFlags(view, index, index === copy.index ? others | MemberFlag.MASTER : others);
      }
    }
    this.#copies.master = copy.index;
  }

  /** True when too few copies, or none, would be left in sync without copy `index`. */
  isNeeded(index: number): boolean {
    return (this.inSync & (1 << index)) !== 0 && this.#leftWithout(index) < Math.max(1, this.minCopies);
  }

  #leftWithout(index: number): number {
    const failed = this.#copies.failed.reduce((bits, other) => bits | other.bit, 0);
    return bitCount(this.inSync & ~(1 << index) & ~failed);
  }

  /** True when fewer copies are in use and in sync than are needed by this root, or by another one that may be what others hold. */
  get areTooFew(): boolean {
    const now = { inSync: this.inSync, minCopies: this.minCopies };
    return [now, ...this.#issued].some((terms) => bitCount(this.#store.inSync & terms.inSync) < terms.minCopies);
  }

  /** Refuses to go on without `copy` when it is needed. Throws CopiesError. */
  refuseIfNeeded(copy: Copy): void {
    if (!this.isNeeded(copy.index)) return;
    const left = this.#leftWithout(copy.index);
    const needed = Math.max(1, this.minCopies);
    const are = left === 1 ? "copy would be" : "copies would be";
    throw new CopiesError(
      "needed",
      copy.name,
      `copy ${copy.index} is needed: ${left} ${are} left in sync, the volume takes ${needed}; bring another copy in sync first`,
    );
  }

  /** Begins a new epoch although nobody leaves: an earlier state is gone on from, later ones are left behind. */
  beginEpoch(): void {
    beginRootEpoch(this.#rootImage.view, randomUuid(this.#random));
  }

  /** Takes `lost` copies, which are not at hand, out of the in-sync set: a new epoch begins. */
  leave(lost: number): void {
    leaveSync(this.#rootImage.view, lost, () => randomUuid(this.#random));
    this.align();
  }

  /** The operator goes on with fewer copies than needed: that many are enough until others have joined again. */
  acceptFewer(): void {
    const { view } = this.#rootImage;
    setRootMinCopies(view, Math.min(this.minCopies, bitCount(this.inSync)));
  }

  /** Drops the copies that failed (I2). Throws CopiesLostError when too few are left to go on writing. */
  dropFailed(): void {
    const { failed } = this.#copies;
    if (failed.length === 0) return;
    if (this.#minBefore !== undefined) setRootMinCopies(this.#rootImage.view, this.#minBefore.minCopies);
    this.#minBefore = undefined;
    const mask = failed.reduce((bits, copy) => bits | copy.bit, 0);
    const reasons = failed.map((copy) => `copy ${copy.index}: ${copy.failure?.message ?? "failed"}`).join("; ");
    const leftNow = this.inSync & ~mask;
    this.#refuseTooFew(leftNow, { inSync: this.inSync, minCopies: Math.max(1, this.minCopies) }, reasons);
    // Those that join with a root hold it as well, and get what follows: they count by its terms.
    for (const terms of this.#issued) this.#refuseTooFew(bits(this.#copies.active), terms, reasons);
    for (const copy of failed) this.drop(copy, "faulted", copy.failure?.message ?? "failed");
  }

  #refuseTooFew(copies: number, { inSync, minCopies }: RootTerms, reasons: string): void {
    const left = bitCount(copies & inSync);
    if (left < minCopies) throw new CopiesLostError(`${reasons}; ${left} of the ${minCopies} copies needed are left`);
  }

  /** Takes one copy out of use: no block or root goes to it from now on, and what it never flushed is not promised. */
  drop(copy: Copy, standing: "faulted" | "offline" | "leaving", reason: string): void {
    const wasActive = copy.active;
    copy.standing = standing;
    copy.reason = reason;
    copy.leaveLimit();
    if (copy.failure instanceof ContentLostError || copy.lostContent) this.#distrustDevice(copy);
    // Where nothing was written to it there are no such pointers, and what is committed must not be changed in place (I1).
    if (wasActive) {
      assert(copy.flushedTid !== undefined, `copy ${copy.index} was in use, and nobody knows since when`);
      clearUnflushed(this.#store, this.#rootImage, copy.index, copy.flushedTid);
    }
    // It may hold a root that counts on it, which those that go on leave behind.
    const isPromised = this.#issued.some(({ inSync }) => (inSync & copy.bit) !== 0);
    if (isPromised && (this.inSync & copy.bit) === 0) this.beginEpoch();
    this.leave(copy.bit);
    const what = standing === "leaving" ? "leaving" : "dropped";
    this.onEvent({ copyIndex: copy.index, what, detail: reason });
  }

  /** The operator takes a copy out, at hand or not; `lasting`: it stays out at later mounts too. */
  takeOut(index: number, lasting: boolean): void {
    const copy = this.#copies.copy(index);
    const { view } = this.#rootImage;
    const flags = rootMemberFlags(view, index) & ~MemberFlag.OFFLINE;
    setRootMemberFlags(view, index, lasting ? flags | MemberFlag.OFFLINE : flags);
    this.#timesTakenOut[index] = this.timesTakenOut(index) + 1;
    if (copy !== undefined) this.drop(copy, "offline", "taken out by the operator");
  }

  /** How often that was said of a copy: it tells whether it was said again. */
  timesTakenOut(index: number): number {
    return this.#timesTakenOut[index] ?? 0;
  }

  /** What it flushed may be gone: every block is checked when it returns, and what was checked before counts no more (I6). */
  distrust(copy: Copy): void {
    const { view } = this.#rootImage;
    copy.untrusted = true;
    setRootMemberFlags(view, copy.index, rootMemberFlags(view, copy.index) | MemberFlag.UNTRUSTED);
    if (cursorCopy(rootRevalidateCursor(view)) === copy.index) setRootRevalidateCursor(view, 0);
  }

  /**
   * Its device lost content: those on it that are out hear of that from nobody else. What is in use is told by its own flush, or dropped
   * itself (I1).
   */
  #distrustDevice(copy: Copy): void {
    for (const one of onDeviceOf(copy, this.#copies)) if (!one.active) this.distrust(one);
  }

  // ---- changes asked for; each is made between two commits (Volume.forceCommit)

  /** Enters a new copy, whose ring is empty: everything is owed to it. `replaces`: the copy whose place it takes. */
  attach(copy: Copy, replaces: number | undefined): void {
    const { view } = this.#rootImage;
    const { index } = copy;
    assert((this.all & copy.bit) === 0, `copy ${index} is a member already`);
    assert(refIsBare(view, rootFreemapOffset(index)), `copy ${index} has a freemap before it is attached`);
    setRootLastSeen(view, index, {
      copyUuid: copy.uuid,
      epoch: rootEpoch(view),
      version: new Uint8Array(VERSION_BYTES),
      sequence: 0,
      sizeKib: copy.sizeKib,
      target: copy.name,
      flags: MemberFlag.ARRIVING | (replaces === undefined ? 0 : MemberFlag.REPLACING),
      replaces: replaces ?? 0,
    });
    // What is needed changes when it joins, not before.
    const { minCopies } = this;
    recountMembers(view);
    setRootMinCopies(view, minCopies);
    this.#store.rules.setCopySize(index, copy.sizeKib);
    freemapFor(this.#store, this.#rootImage, { index, sizeKib: copy.sizeKib });
    this.#copies.add(copy);
    copy.flushedTid = this.#store.tid - 1;
    copy.standing = "syncing";
    this.align();
    this.onEvent({ copyIndex: index, what: "attached", detail: "is being caught up" });
  }

  /** Changes M; taken back if a copy fails before that is durable on all (I2). */
  changeMinCopies(minCopies: number): void {
    this.#minBefore = { minCopies: this.minCopies, tid: this.#store.tid };
    setRootMinCopies(this.#rootImage.view, minCopies);
  }

  /** A member begins to leave, at hand or not: nothing is written or owed to it from now on. */
  beginLeaving(index: number, reason: string): void {
    const { view } = this.#rootImage;
    setRootMemberFlags(view, index, MemberFlag.LEAVING);
    const { minCopies } = this;
    recountMembers(view);
    setRootMinCopies(view, minCopies);
    this.#letLeave(index, reason);
  }

  /** Nothing is written to it from now on, at hand or not. */
  #letLeave(index: number, reason: string): void {
    const copy = this.#copies.copy(index);
    if (copy?.active) return this.drop(copy, "leaving", reason);
    if (copy !== undefined) copy.standing = "leaving";
    this.leave(1 << index);
    this.onEvent({ copyIndex: index, what: "leaving", detail: reason });
  }

  /** Nothing names the copy any more: its index is free. */
  forget(index: number): void {
    const { view } = this.#rootImage;
    assert((this.leaving & (1 << index)) !== 0, `copy ${index} is forgotten without having left`);
    assert(refIsBare(view, rootFreemapOffset(index)), `copy ${index} is forgotten before its freemap`);
    const copy = this.#copies.copy(index);
    assert(copy?.active !== true, `copy ${index} is forgotten while it is in use`);
    for (let other = 0; other < COPIES_MAX; other++) {
      const seen = rootLastSeen(view, other);
      if (seen === undefined || (seen.flags & MemberFlag.REPLACING) === 0 || seen.replaces !== index) continue;
      setRootLastSeen(view, other, { ...seen, flags: seen.flags & ~MemberFlag.REPLACING, replaces: 0 });
    }
    setRootLastSeen(view, index, undefined);
    setRootCounters(view, index, NO_ERRORS);
    this.#store.freemaps[index] = undefined;
    this.#store.rules.setCopySize(index, 0);
    if (copy !== undefined) this.#copies.remove(copy);
    this.align();
    this.onEvent({ copyIndex: index, what: "detached", detail: "nothing of the volume is on it any more" });
  }

  // ---- joining

  /**
   * The copy that joins with the next root: nothing is owed to it any more, although it is not in sync yet. One at a time, so that two
   * roots in a row differ by one member: then no two parts of the copies can each go on by itself after a power cut (docs/invariants.md,
   * I2). A copy that a root says is in sync, and that root is not durable on all yet, comes first: as far as some copy knows it is in
   * already.
   */
  joining(owed: number): readonly Copy[] {
    const begun = this.#issued.reduce((mask, { inSync }) => mask | inSync, 0) & ~this.inSync;
    return this.#copies.active
      .filter((copy) => copy.standing === "syncing" && !copy.untrusted && (owed & copy.bit) === 0)
      .filter(({ bit }) => begun === 0 || (begun & bit) !== 0)
      .slice(0, 1);
  }

  /** What is allocated from now on must fit on those that join with the root about to be sealed. */
  beginJoining(joining: readonly Copy[]): void {
    this.#store.required |= bits(joining);
  }

  /** Writes into the image of the root at hand that `joining` are in sync. */
  describeJoined(view: DataView, joining: readonly Copy[]): void {
    if (joining.length > 0) joinSync(view, bits(joining), rootSequence(view));
  }

  /** The root with image `view` is about to be written to all active copies. */
  rootIssued(view: DataView): void {
    const terms = rootTerms(view);
    this.#journal?.noteTerms(terms);
    this.#issued = [...this.#issued, terms];
    for (const copy of this.#copies.active) setRootIssued(this.#rootImage.view, copy.index, rootSequence(view));
  }

  /** The root with image `written` is durable on all copies that did not fail. */
  rootDurable(written: DataView): void {
    for (const copy of this.#copies.active) {
      copyRootLastSeenRoot(written, this.#rootImage.view, copy.index);
    }
  }

  /** The root of transaction `tid`, which took `joining` into the in-sync set, is durable everywhere. */
  committed(tid: number, joining: readonly Copy[]): void {
    this.#issued = this.#issued.slice(-1);
    for (const terms of this.#issued) this.#journal?.keepTerms(terms);
    if (this.#minBefore !== undefined && tid >= this.#minBefore.tid) this.#minBefore = undefined;
    if (joining.length === 0) return;
    const { view } = this.#rootImage;
    const replaced = replacedBy(view, bits(joining));
    const alreadyOut = replaced & ~this.inSync;
    for (const copy of joining) {
      copy.standing = "in-sync";
      copy.reason = undefined;
      copy.noRoom = false;
    }
    joinSync(view, bits(joining), tid);
    this.align();
    for (const copy of joining) {
      this.onEvent({ copyIndex: copy.index, what: "joined", detail: "is in sync" });
      this.onJoined(copy);
    }
    for (let index = 0; index < COPIES_MAX; index++) {
      if ((alreadyOut & (1 << index)) === 0) continue;
      this.#letLeave(index, "was replaced");
      this.onLeft(index);
    }
  }
}

function bits(copies: readonly Copy[]): number {
  return copies.reduce((mask, copy) => mask | copy.bit, 0);
}

function bitsWhere(holds: (index: number) => boolean): number {
  let mask = 0;
  for (let index = 0; index < COPIES_MAX; index++) if (holds(index)) mask |= 1 << index;
  return mask;
}

function lowest(mask: number): number {
  for (let index = 0; index < COPIES_MAX; index++) if ((mask & (1 << index)) !== 0) return index;
  return 0;
}
