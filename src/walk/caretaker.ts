// Looks after the copies of a mounted volume: takes back those that returned, has each revalidated where its state is
// unknown (I6) and caught up, clears up behind a copy that joined, and attaches, replaces and detaches copies. Works beside requests;
// everything it does survives being stopped at any point (I8).

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/thrown.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import type { Ring } from "../copies/ring.ts";
import type { MemberEvent } from "../volume/members.ts";
import type { Volume } from "../volume/volume.ts";
import type { OpenTarget } from "../copies/targets.ts";
import { COPIES_MAX, ROOT_SLOTS } from "../format/geometry.ts";
import { attach, type AttachOptions } from "./attach.ts";
import { beginDetach, Detach, restoreMinCopies } from "./detach.ts";
import { Pace } from "./pace.ts";
import { FsError } from "../base/errno.ts";
import { rootScrubCursor } from "../format/root-block.ts";
import { Scrub } from "./scrub.ts";
import { Revalidation, type RevalidationProgress } from "./revalidate.ts";
import { Resync, type ResyncEnd, type ResyncProgress } from "./resync.ts";
import { releaseAnchor, takeBack, type TakeBackOptions } from "./take-back.ts";
import { retireReplaced } from "./replace-node.ts";

export interface CaretakerOptions {
  readonly clock: Clock;
  /** Most bytes a second that resyncs and a scrub move, all together; 0 for no bound. */
  readonly bytesPerSecond?: number;
  /** Told in one line what became of a copy. */
  readonly onNote?: (line: string) => void;
}

/** How the catching up of one copy goes, or went. */
export interface CatchUp {
  readonly copyIndex: number;
  readonly startedMs: number;
  /** How far the check of what it holds came; undefined when it needs none. */
  readonly revalidation: Readonly<RevalidationProgress> | undefined;
  endedMs: number | undefined;
  readonly progress: Readonly<ResyncProgress>;
  /** Undefined while it goes on. */
  end: ResyncEnd | "failed" | undefined;
}

/** Kinds of work, each of which can be waited for by itself. */
export type Activity = "resync" | "detach" | "scrub";

/** How the last scrub of this mount ended. */
export interface ScrubEnd {
  readonly scrub: Scrub;
  readonly end: "complete" | "cancelled" | "stopped" | "failed";
}

export class Caretaker {
  readonly #volume: Volume;
  readonly #clock: Clock;
  readonly #pace: Pace;
  /** Tells people, in one line, what became of a copy. */
  readonly note: (line: string) => void;
  /** Walks under way, to be stopped when the volume is closed. */
  readonly #walks = new Set<{ stop(): void }>();
  /** Catching up under way, by copy. */
  readonly #running = new Map<number, { stop(): void; readonly over: Promise<void> }>();
  /** The last taking back of each copy: two of one copy follow one another. */
  readonly #takingBack = new Map<number, Promise<void>>();
  /** Revalidations follow one another: the root has one cursor for them. */
  #revalidated: Promise<unknown> = Promise.resolve();
  readonly #catchUps = new Map<number, CatchUp>();
  #scrub: Scrub | undefined;
  #lastScrub: ScrubEnd | undefined;
  readonly #detaching = new Map<number, Detach>();
  readonly #replacing = new Set<number>();
  /** Resolves when those that were replaced have left, or could not. */
  #replacedGone: Promise<unknown> = Promise.resolve();
  readonly #under = new Map<Promise<void>, Activity>();
  #closed = false;

  constructor(volume: Volume, options: CaretakerOptions) {
    this.#volume = volume;
    this.#clock = options.clock;
    this.#pace = new Pace(options.clock, options.bytesPerSecond ?? 0);
    this.note = options.onNote ?? (() => undefined);
    volume.members.onEvent = (event) => this.#membersChanged(event);
    volume.members.onJoined = (copy) => this.#begin("resync", () => this.#clearUp(copy));
    volume.members.onLeft = (index) => this.#begin("detach", () => this.#clearBehind(index));
  }

  /**
   * Takes back every copy that is at hand and not in sync, unless the operator took it out, goes on clearing behind those
   * that leave, at hand or not, and goes on with a scrub that was interrupted. Nothing of that on a volume that can only be read.
   */
  start(): void {
    if (this.#volume.readOnly !== undefined) return;
    this.#letReplacedGo(() => restoreMinCopies(this.#volume));
    for (let index = 0; index < COPIES_MAX; index++) {
      if ((this.#volume.members.leaving & (1 << index)) !== 0) this.#begin("detach", () => this.#clearBehind(index));
    }
    if (rootScrubCursor(this.#volume.rootImage.view) !== 0) this.startScrub();
    for (const ring of this.#volume.rings.rings) {
      const { standing } = ring.copy;
      if (standing === "in-sync" && (hasAnchorLeft(ring) || !isWhole(ring)))
        this.#begin("resync", () => this.#clearUp(ring.copy));
      if (standing === "stale" || standing === "unknown" || standing === "blank") {
        this.#begin("resync", () => this.takeBack(ring));
      }
    }
  }

  /** How each copy's catching up goes, by index. */
  get catchUps(): ReadonlyMap<number, CatchUp> {
    return this.#catchUps;
  }

  /** Takes one copy back and begins to catch it up; resolves once it is being caught up. */
  async takeBack(ring: Ring, options: TakeBackOptions = {}): Promise<void> {
    const { index } = ring.copy;
    const done = this.#takenBack(index).then(() => takeBack(this.#volume, ring, options));
    this.#takingBack.set(index, done);
    // Who waits for a resync waits for one that is about to begin, too: its end is not that of the last one.
    this.#begin("resync", () => done.catch(() => undefined));
    await done;
    this.note(`copy ${ring.copy.index} returned: it is being caught up`);
    this.#begin("resync", () => this.#catchUp(ring.copy));
  }

  /** Resolves when nobody takes copy `index` back any more, however that ended. */
  async #takenBack(index: number): Promise<void> {
    await this.#takingBack.get(index)?.catch(() => undefined);
  }

  /**
   * Makes a new copy of the open devices of `target`, whose content is lost, and begins to catch it up; resolves once it is a
   * member. Throws CopiesError or DeviceError; the devices are the caller's to close then.
   */
  async attach(target: OpenTarget, options: AttachOptions = {}): Promise<Copy> {
    const copy = await attach(this.#volume, target, options);
    this.#begin("resync", () => this.#catchUp(copy));
    return copy;
  }

  /** A new copy in the place of copy `index`, at hand or not, which goes on serving until the new one is complete. */
  replace(index: number, target: OpenTarget, options: Omit<AttachOptions, "replaces"> = {}): Promise<Copy> {
    return this.attach(target, { ...options, replaces: index });
  }

  /**
   * Takes a copy, at hand or not, out of the volume for good: resolves when no root counts on it; what the tree says of it
   * is cleared after that. Throws CopiesError when too few complete copies would be left.
   */
  async detach(index: number): Promise<void> {
    await beginDetach(this.#volume, index);
    this.#begin("detach", () => this.#clearBehind(index));
  }

  /** Does `work`, in which a node of copy `index` is replaced. Closing waits for its end; begun after that it changes nothing. */
  async replacing<T>(index: number, work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new CopiesError("busy", `copy ${index}`, "the volume is being let go of; try again");
    this.#replacing.add(index);
    const done = work().finally(() => this.#replacing.delete(index));
    this.#begin("resync", () =>
      done.then(
        () => undefined,
        () => undefined,
      ),
    );
    return done;
  }

  /** True while a node of copy `index` is being replaced: it is out of use, and comes back without help. */
  isReplacing(index: number): boolean {
    return this.#replacing.has(index);
  }

  /** Nothing is begun any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Begins a scrub, or goes on with one that was interrupted. Throws FsError EBUSY when one runs, EROFS when nothing may be written. */
  startScrub(): Scrub {
    if (this.#scrub !== undefined) throw new FsError("EBUSY", "a scrub is under way already");
    const { readOnly } = this.#volume;
    if (readOnly !== undefined) throw new FsError("EROFS", readOnly);
    const scrub = new Scrub(this.#volume, this.#clock, this.#pace);
    this.#scrub = scrub;
    this.#begin("scrub", () => this.#runScrub(scrub));
    return scrub;
  }

  /** The scrub under way, to be paused, resumed or cancelled. */
  get scrub(): Scrub | undefined {
    return this.#scrub;
  }

  /** The last one that ended since the mount. */
  get lastScrub(): ScrubEnd | undefined {
    return this.#lastScrub;
  }

  async #runScrub(scrub: Scrub): Promise<void> {
    this.#lastScrub = { scrub, end: "failed" };
    try {
      const complete = await this.walk(scrub, () => scrub.run());
      const { blocks, errors, repaired, lost } = scrub.record;
      const end = complete ? "complete" : scrub.isCancelled ? "cancelled" : "stopped";
      this.#lastScrub = { scrub, end };
      this.note(`scrub ${end}: ${blocks} blocks read, ${errors} bad, ${repaired} repaired, ${lost} lost on every copy`);
    } finally {
      this.#scrub = undefined;
    }
  }

  #membersChanged({ copyIndex, what, detail }: MemberEvent): void {
    this.note(`copy ${copyIndex} ${what}: ${detail}`);
    // Whether one that was replaced may go hangs on all the others.
    if (this.#volume.members.replaced !== 0) this.#letReplacedGo();
  }

  /** Takes out copies whose places others have taken, after those before; what can't go now is tried again with the next change of members. */
  #letReplacedGo(before: () => Promise<void> = () => Promise.resolve()): void {
    const turn = this.#replacedGone.then(async () => {
      await before();
      for (let index = 0; index < COPIES_MAX; index++) {
        if ((this.#volume.members.replaced & (1 << index)) === 0 || this.#closed) continue;
        await beginDetach(this.#volume, index, "was replaced");
        this.#begin("detach", () => this.#clearBehind(index));
      }
    });
    this.#replacedGone = turn.catch(() => undefined);
    this.#begin("detach", () => turn);
  }

  /** Clears what the tree says of a copy that leaves; then its index is free. */
  async #clearBehind(index: number): Promise<void> {
    if (this.#detaching.has(index)) return;
    this.#running.get(index)?.stop();
    const detach = new Detach(this.#volume, index);
    this.#detaching.set(index, detach);
    try {
      if (!(await this.walk(detach, () => detach.run())) && !this.#closed) {
        this.note(`copy ${index} can't leave: ${whyNot(detach)}`);
      }
    } finally {
      this.#detaching.delete(index);
    }
  }

  /** Stops catching up one copy; resolves when nothing of that is under way any more. */
  async stop(copyIndex: number): Promise<void> {
    const under = this.#running.get(copyIndex);
    under?.stop();
    await under?.over;
    await this.#takenBack(copyIndex);
  }

  /** What a copy of unknown state holds is checked first; then it is brought what it lacks. */
  async #bringInSync(resync: Resync, revalidation: Revalidation | undefined): Promise<ResyncEnd> {
    const trusted = revalidation === undefined || (await this.#revalidate(revalidation));
    const lost = revalidation?.lost ?? 0;
    if (!trusted && lost === 0) return "stopped";
    const end = await this.walk(resync, () => resync.run());
    // It has all that can be read, and does not join all the same.
    return end === "stopped" && lost > 0 && resync.goesOn ? "unreadable" : end;
  }

  async #catchUp(copy: Copy): Promise<void> {
    if (this.#closed) return;
    const resync = new Resync(this.#volume, copy, this.#pace);
    const revalidation = copy.untrusted ? new Revalidation(this.#volume, copy, this.#pace) : undefined;
    const catchUp: CatchUp = {
      copyIndex: copy.index,
      startedMs: this.#clock.monotonicMs(),
      revalidation: revalidation?.progress,
      endedMs: undefined,
      progress: resync.progress,
      end: undefined,
    };
    this.#catchUps.set(copy.index, catchUp);
    const running = this.#bringInSync(resync, revalidation);
    const over = running.then(
      () => undefined,
      () => undefined,
    );
    const stop = (): void => {
      revalidation?.stop();
      resync.stop();
    };
    const own = { stop, over };
    this.#running.set(copy.index, own);
    try {
      catchUp.end = await running;
    } catch (error) {
      catchUp.end = "failed";
      throw error;
    } finally {
      catchUp.endedMs = this.#clock.monotonicMs();
      // Another copy may be caught up under this index by now.
      if (this.#running.get(copy.index) === own) this.#running.delete(copy.index);
    }
    if (catchUp.end === "unreadable") {
      const lost = revalidation?.lost ?? 0;
      const what =
        lost > 0
          ? `${lost} blocks can't be read on any copy, and what it holds below them can't be checked`
          : `${resync.unreadable} blocks that it lacks can't be read on any copy`;
      this.note(
        `copy ${copy.index} can't come in sync: ${what}; ` +
          `fsck.h2ts names their files: delete or rewrite those, then h2ts online DIR ${copy.index}`,
      );
    }
    if (catchUp.end === "no-room") {
      this.note(
        `copy ${copy.index} has no room for what it lacks beside its last complete state; h2ts online --no-anchor gives that up`,
      );
    }
  }

  async #revalidate(revalidation: Revalidation): Promise<boolean> {
    const before = this.#revalidated;
    const walked = this.walk(revalidation, async () => {
      // One that is stopped while it waits for its turn is over at once.
      await Promise.race([before, revalidation.whenStopped]);
      return revalidation.run();
    });
    this.#revalidated = Promise.allSettled([before, walked]);
    if (!(await walked)) return false;
    const { blocks, bad } = revalidation.progress;
    this.note(`copy ${revalidation.copy.index} was revalidated: ${bad} of ${blocks} blocks are brought anew`);
    return true;
  }

  /** Runs a walk that is stopped when the volume is closed; at once, if that has begun. */
  async walk<T>(walk: { stop(): void }, run: () => Promise<T>): Promise<T> {
    if (this.#closed) walk.stop();
    this.#walks.add(walk);
    try {
      return await run();
    } finally {
      this.#walks.delete(walk);
    }
  }

  /** The copy is in sync: its last complete state need not be kept any more, and its ring has to be whole. */
  async #clearUp(copy: Copy): Promise<void> {
    const { rings } = this.#volume;
    const ring = rings.ring(copy.index);
    // It may fail meanwhile and be brought back, and what is kept for it then is not ours to let go.
    const isStill = (): boolean => ring?.copy === copy && rings.ring(copy.index) === ring && isInSync(copy);
    await retireReplaced(this.#volume, copy);
    if (ring === undefined || !isStill()) return;
    if (hasAnchorLeft(ring)) await rings.clearAnchor(copy);
    await releaseAnchor(this.#volume, copy.index, isStill);
    if (isWhole(ring) || !isStill()) return;
    for (let slot = 0; slot < ROOT_SLOTS; slot++) await this.#volume.forceCommit();
  }

  #begin(activity: Activity, work: () => Promise<void>): void {
    if (this.#closed) return;
    const done: Promise<void> = work()
      .catch((error: unknown) => this.note(messageOf(error)))
      .finally(() => this.#under.delete(done));
    this.#under.set(done, activity);
  }

  /** Resolves when no work of this kind is under way, or none at all. A scrub that is paused is under way. */
  async settled(activity?: Activity): Promise<void> {
    for (;;) {
      const left = [...this.#under].filter(([, kind]) => activity === undefined || kind === activity);
      if (left.length === 0) return;
      await Promise.all(left.map(([done]) => done));
    }
  }

  /** Stops all work after the step under way; it goes on by itself at the next mount. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#volume.admitNoMore();
    for (const walk of this.#walks) walk.stop();
    await this.settled();
  }
}

/** What keeps a copy from leaving, and what to do. */
function whyNot({ kept, keptBy }: Detach): string {
  if (kept === 0) return "a part of the tree is unreadable; run fsck.h2ts, then mount again";
  const shown = [...keptBy].slice(0, 5).join(", ");
  const more = keptBy.size > 5 ? ` and ${keptBy.size - 5} more` : "";
  return (
    `it alone holds ${kept} blocks of files written under copies=K (inodes ${shown}${more}), and they could not be read ` +
    "or had no room elsewhere; make room or delete the files, then h2ts detach it again; if its medium is not here, mount again with it"
  );
}

const isInSync = ({ standing, failure }: Copy): boolean => standing === "in-sync" && failure === undefined;

/** An anchor that a crash left behind, whole or torn while it was emptied. */
function hasAnchorLeft(ring: Ring): boolean {
  return ring.anchor !== undefined || ring.findings.some(({ kind }) => kind === "anchor-damaged");
}

/** Every slot of the ring holds a root, front and back. */
function isWhole(ring: Ring): boolean {
  return ring.findings.length === 0 && !ring.slots.includes(undefined);
}
