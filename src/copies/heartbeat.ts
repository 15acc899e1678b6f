// Two writers never mount one volume (I11). Where another host could open a copy too, a sector of it says who has it
// mounted. Nothing but reading and writing can be relied on there, so time has to tell, and only spans of it, by the
// monotonic clock of whoever waits:
//
//   watch   A heartbeat that is there is watched for a whole lease; as soon as it changes, its writer is alive: refused.
//   claim   If it still is what was watched, our own is written, at most SETTLE after that look, or not at all. After
//           another SETTLE it must still be ours. (Whoever looked before our write has written by then: Fischer's rule.)
//   beat    Four times a lease it is read back and written anew. Anybody else's in its place: somebody took over, fenced.
//   lease   No write goes to a copy later than half a lease after its last acknowledged beat began. A process that was
//           stopped for long and wakes up writes nothing more: whoever took over has watched for a whole lease.
//
// Ours is every one with our nonce, not only the last: a server that is slow to write may do so with one of a worker that died
// after the one that took its place has written another (trap 4c).
//
// A copy whose first node is frozen is not beaten on. Before it is written to again its heartbeat must still be ours, and is
// claimed once more.
//
// A copy that joins a volume in use, new or back again, is claimed as at a mount, before its ring is read (`admit`). What is found
// there is a heartbeat of ours mostly, from before it was dropped; it may have been taken over since, so that its claim must settle.
//
// Devices that are locked locally (`exclusive`) can't be opened by anybody else, so nothing is written or waited for
// there: a nonce that does not beat would protect nobody, and an idle disk may sleep.

import type { Timer } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { equalBytes, isZero } from "../base/uuid.ts";
import { DeviceError } from "../device/device.ts";
import { NONCE_BYTES } from "../format/geometry.ts";
import { encodeHeartbeat, HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES, heartbeatNonce } from "../format/heartbeat.ts";
import { asDeviceError, type Copy } from "./copy.ts";
import type { CopySet } from "./copy-set.ts";
import { allWithinDeadline, wasPaused } from "./deadline.ts";
import { CopiesError } from "./errors.ts";
import { BEATS_PER_LEASE, inUse, LEASE_MS_DEFAULT, refuseInUse } from "./in-use.ts";
import type { OpenTarget } from "./targets.ts";

const SETTLES_PER_LEASE = 10;

export interface HeartbeatOptions {
  readonly random: Random;
  readonly leaseMs?: number;
  /** That of the worker whose place is taken: its heartbeat is ours. */
  readonly nonce?: Uint8Array;
}

export class Heartbeat {
  readonly nonce: Uint8Array;
  readonly #copies: CopySet;
  readonly #leaseMs: number;
  /** Copies that others could open, and that have our heartbeat. */
  readonly #claimed = new Set<Copy>();
  readonly #underWay = new Map<Copy, Promise<void>>();
  /** Whoever asks for one that is under way shares it. */
  readonly #renewals = new Map<Copy, Promise<void>>();
  /** Indices of copies on which a heartbeat may land too late: whoever has them now has to notice it first. */
  readonly #doubtful = new Set<number>();
  /** Whoever gives a copy free while that is under way shares it: what the first one leaves there is nobody's. */
  readonly #releases = new Map<Copy, Promise<void>>();
  /** Copies to be taken into the set, which are claimed already or just being so. */
  readonly #joining = new Set<Copy>();
  /** Each resolves when that copy is claimed, or was given free. */
  readonly #admissions = new Map<Copy, Promise<unknown>>();
  /** Told when the volume is let go of. */
  readonly #onClosing = new Set<() => void>();
  #counter = 0;
  #timer: Timer | undefined;
  #isClosing = false;
  #ended = false;

  private constructor(copies: CopySet, options: HeartbeatOptions) {
    this.nonce = options.nonce ?? options.random.bytes(NONCE_BYTES);
    this.#copies = copies;
    this.#leaseMs = options.leaseMs ?? LEASE_MS_DEFAULT;
  }

  /**
   * Makes sure that nobody else writes to `copies`, and sees to it that this stays so. Must come before the rings are read:
   * what they hold may change until then. Throws CopiesError when the volume is in use.
   */
  static async claim(copies: CopySet, options: HeartbeatOptions): Promise<Heartbeat> {
    const heartbeat = new Heartbeat(copies, options);
    const shared = copies.copies.filter(({ device }) => !device.exclusive);
    if (shared.length > 0) await heartbeat.#take(shared, true);
    heartbeat.#schedule();
    return heartbeat;
  }

  /**
   * Makes sure that nobody else writes to a copy that is not in the set yet, and sees to it that this stays so. Rejects with CopiesError
   * when another host uses it or the volume is being let go of, DeviceError when the copy fails. `dismiss` undoes it.
   */
  async admit(copy: Copy): Promise<void> {
    if (copy.device.exclusive) return;
    const admission = this.#admit(copy);
    const over = admission.catch(() => undefined);
    this.#admissions.set(copy, over);
    void over.then(() => this.#admissions.delete(copy));
    await admission;
  }

  async #admit(copy: Copy): Promise<void> {
    this.#joining.add(copy);
    try {
      await this.#take([copy], false);
      // A copy that failed leaves nothing there.
      if (copy.failure !== undefined) throw copy.failure;
      // What it was before goes on no more, also where this is not taken either: it would find what that leaves there.
      for (const old of this.#claimed) if (old !== copy && equalBytes(old.uuid, copy.uuid)) this.#claimed.delete(old);
      this.#refuseWhileClosing([copy]);
    } catch (error) {
      await this.dismiss(copy);
      throw error;
    }
    this.#schedule();
  }

  /** A copy that was admitted is not taken: says that nobody has it, unless somebody else has. */
  async dismiss(copy: Copy): Promise<void> {
    if (!this.#joining.delete(copy)) return;
    await this.#releaseInTime(copy);
    this.#claimed.delete(copy);
  }

  /**
   * Rejects with CopiesError when another host uses one of the open devices of a target that is to be given to a copy of ours, or that
   * can't be told, or the volume is being let go of; DeviceError when one can't be read. `inTime` bounds each look at them.
   */
  async refuseInUse(target: OpenTarget, inTime: <T>(look: Promise<T>) => Promise<T>): Promise<void> {
    await refuseInUse(target.devices, {
      leaseMs: this.#leaseMs,
      wait: async () => {
        await this.#waitToWatch(true);
        if (this.#isClosing) throw lettingGo(target);
      },
      inTime: (look) => this.unlessClosing(target, inTime(look)),
      isOurs: (copyUuid) => this.#copies.copies.some(({ uuid }) => equalBytes(uuid, copyUuid)),
    });
  }

  /** What `work` on a target gives. One that hangs keeps nobody from letting go of the volume for longer than `graceMs`. */
  unlessClosing<T>(target: OpenTarget, work: Promise<T>, graceMs = 0): Promise<T> {
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined;
      const refuse = (): void => {
        timer = this.#copies.clock.after(graceMs, () => reject(lettingGo(target)));
      };
      void work.then(resolve, reject).finally(() => {
        this.#onClosing.delete(refuse);
        timer?.cancel();
      });
      if (this.#isClosing) refuse();
      else this.#onClosing.add(refuse);
    });
  }

  /** No copy is admitted any more, which may take a lease: whoever waits for that is told soon. */
  admitNoMore(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const tell of this.#onClosing) tell();
  }

  /** `mayGoOn`: where every heartbeat is ours, nobody else can have taken over meanwhile. */
  async #take(shared: readonly Copy[], mayGoOn: boolean): Promise<void> {
    const settleMs = this.#leaseMs / SETTLES_PER_LEASE;
    const watched = await this.#look(shared);
    // A worker took the place of one that held the volume: whoever watches has not seen a whole lease pass.
    const goesOn = mayGoOn && watched.size > 0 && [...watched].every(([copy, found]) => this.#isOurs(copy, found));
    if ([...watched].some(([copy, found]) => !isZero(found) && !this.#isOursForSure(copy, found))) {
      const joins = shared.some((copy) => this.#joining.has(copy));
      for (let beat = 1; beat < BEATS_PER_LEASE; beat++) {
        await this.#waitToWatch(joins);
        await this.#lookAgain(watched);
      }
      await this.#waitToWatch(joins);
    }
    const lookedMs = this.#nowMs;
    const still = await this.#lookAgain(watched);
    const refuseLate = (): void => {
      if (this.#nowMs - lookedMs <= settleMs) return;
      const names = [...still.keys()].map(({ name }) => name).join(", ");
      throw new CopiesError("in-use", names, "too slow to make sure that no other host uses the volume; try again");
    };
    refuseLate();
    this.#refuseWhileClosing(still.keys());
    this.#counter++;
    // Whoever watches has to see it change, although another worker may have counted as far before.
    while ([...still].some(([copy, found]) => equalBytes(this.#beatFor(copy), found))) this.#counter++;
    const written = [...still.keys()];
    for (const { index } of written) this.#doubtful.add(index);
    await Promise.all(written.map((copy) => this.#write(copy)));
    refuseLate();
    for (const { index, failure } of written) if (failure === undefined) this.#doubtful.delete(index);
    if (!goesOn) await this.#wait(settleMs);
    for (const [copy, found] of await this.#look(written.filter(({ failure }) => failure === undefined))) {
      if (!this.#isOurs(copy, found)) throw inUse(copy.name);
      copy.writableUntilMs = lookedMs + this.#leaseMs / 2;
      this.#claimed.add(copy);
    }
  }

  /** As long as a beat may take; for what joins no longer than the volume is kept. */
  #waitToWatch(joins: boolean): Promise<void> {
    if (joins && this.#isClosing) return Promise.resolve();
    return new Promise((resolve) => {
      const over = (): void => {
        timer.cancel();
        this.#onClosing.delete(over);
        resolve();
      };
      const timer = this.#copies.clock.after(this.#leaseMs / BEATS_PER_LEASE, over);
      if (joins) this.#onClosing.add(over);
    });
  }

  /** Not so if one of ours may have covered that of a stranger who has not noticed yet. */
  #isOursForSure(copy: Copy, found: Uint8Array): boolean {
    return this.#isOurs(copy, found) && !this.#doubtful.has(copy.index);
  }

  #refuseWhileClosing(copies: Iterable<Copy>): void {
    for (const copy of copies) if (this.#isClosing && this.#joining.has(copy)) throw lettingGo(copy);
  }

  /** What each copy holds, which must be what it held. Throws CopiesError when somebody else beats there. */
  async #lookAgain(watched: ReadonlyMap<Copy, Uint8Array>): Promise<Map<Copy, Uint8Array>> {
    this.#refuseWhileClosing(watched.keys());
    const still = await this.#look([...watched.keys()].filter(({ failure }) => failure === undefined));
    for (const [copy, found] of still) {
      const before = watched.get(copy) as Uint8Array;
      // One of ours that landed late may hide how a stranger goes on.
      const isFree = isZero(before) || this.#isOurs(copy, before);
      if (!equalBytes(found, before) && !(isFree && this.#isOurs(copy, found))) throw inUse(copy.name);
    }
    return still;
  }

  /** What each copy holds; one that can't tell is given up. */
  async #look(copies: readonly Copy[]): Promise<Map<Copy, Uint8Array>> {
    const found = new Map<Copy, Uint8Array>();
    const calls = copies.map((copy) => ({
      copy,
      done: this.#read(copy).then((bytes) => void (bytes !== undefined && found.set(copy, bytes))),
    }));
    const { clock, deadlineMs } = this.#copies;
    const isSpareable = (copy: Copy): boolean => this.#joining.has(copy) || this.#copies.copies.length > 1;
    await allWithinDeadline(clock, deadlineMs, "read", calls, isSpareable);
    return new Map(found); // A late answer changes nothing any more.
  }

  async #read(copy: Copy): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(HEARTBEAT_BYTES);
    try {
      await copy.read(HEARTBEAT_OFFSET_BYTES, [bytes]);
      return copy.failure === undefined ? bytes : undefined;
    } catch (error) {
      this.#copies.giveUp(copy, asDeviceError(copy.name, "read", HEARTBEAT_OFFSET_BYTES, error));
      return undefined;
    }
  }

  /** Writes a beat; true when it was acknowledged. */
  async #write(copy: Copy): Promise<boolean> {
    await this.#copies.writeAt([{ copy, offsetBytes: HEARTBEAT_OFFSET_BYTES, bytes: this.#beatFor(copy) }]);
    return copy.failure === undefined;
  }

  #beatFor(copy: Copy): Uint8Array {
    return encodeHeartbeat(this.#copies.volumeUuid, copy.uuid, this.nonce, this.#counter);
  }

  #isOurs(copy: Copy, found: Uint8Array): boolean {
    const nonce = heartbeatNonce(found, this.#copies.volumeUuid, copy.uuid);
    return nonce !== undefined && equalBytes(nonce, this.nonce);
  }

  /** Beats from now on, unless that is so already or there is nothing to beat on. */
  #schedule(): void {
    if (this.#timer !== undefined || this.#ended || this.#claimed.size === 0) return;
    const beatMs = this.#leaseMs / BEATS_PER_LEASE;
    const dueMs = this.#nowMs + beatMs;
    this.#timer = this.#copies.clock.after(beatMs, () => {
      this.#timer = undefined;
      this.#counter++;
      const isLate = wasPaused(dueMs, this.#nowMs);
      for (const copy of this.#claimed) this.#beatOn(copy, isLate);
      this.#schedule();
    });
  }

  /** `isLate`: nobody has looked yet what was answered meanwhile. */
  #beatOn(copy: Copy, isLate: boolean): void {
    if (this.#releases.has(copy)) return;
    const isInSet = this.#copies.copy(copy.index) === copy;
    const before = this.#underWay.get(copy);
    if (isInSet) this.#joining.delete(copy);
    if (copy.failure !== undefined || (!isInSet && !this.#joining.has(copy))) {
      this.#claimed.delete(copy);
      this.#joining.delete(copy);
    } else if (copy.holds(HEARTBEAT_OFFSET_BYTES, HEARTBEAT_BYTES)) {
      // Not before it is thawed.
    } else if (before !== undefined && isLate) {
      void before.then(() => this.#goOnBeating(copy));
    } else if (before !== undefined) {
      // The one before is not over. The last copy is waited for, until its lease ends.
      if (this.#copies.active.length > 1) this.#copies.giveUp(copy, silent(copy, "ETIMEDOUT"));
    } else {
      const beat = this.#beat(copy).catch(() => undefined); // Fenced meanwhile; whoever has to know was told.
      this.#underWay.set(copy, beat);
      void beat.then(() => this.#underWay.delete(copy));
    }
  }

  /** The beat that was under way after a pause is over: another one at once, or the lease ends before the next is due. */
  #goOnBeating(copy: Copy): void {
    if (this.#ended || !this.#claimed.has(copy) || this.#underWay.has(copy)) return;
    this.#counter++;
    this.#beatOn(copy, false);
  }

  async #beat(copy: Copy): Promise<void> {
    const startedMs = this.#nowMs;
    if (startedMs > copy.writableUntilMs) return this.#copies.giveUp(copy, silent(copy, "ESTALE"));
    if (!(await this.#stillOurs(copy))) return;
    if (!(await this.#write(copy))) {
      this.#claimed.delete(copy);
      this.#doubtful.add(copy.index);
      return;
    }
    // Its write may have been held for long: the copy was claimed anew before that was let through.
    copy.writableUntilMs = Math.max(copy.writableUntilMs, startedMs + this.#leaseMs / 2);
  }

  /** False when the copy failed or nothing more is to be written; a stranger's heartbeat fences the volume. */
  async #stillOurs(copy: Copy): Promise<boolean> {
    const found = await this.#read(copy);
    if (found === undefined || !this.#claimed.has(copy) || this.#copies.fenced !== undefined) return false;
    if (this.#isOurs(copy, found)) return true;
    this.#takenOver(copy);
    return false;
  }

  #takenOver(copy: Copy): void {
    this.#copies.fence(`${copy.name}: another host took the volume over; nothing more is written from here`);
  }

  /**
   * To be called before a frozen copy is thawed: unless its lease still lasts for long enough, it is claimed anew. When another
   * host took it over, nothing more is written (`CopySet.fenced`). Rejects with CopiesError when that could not be made sure in
   * time; a copy that fails is given up.
   */
  renew(copy: Copy): Promise<void> {
    let renewal = this.#renewals.get(copy);
    if (renewal === undefined) {
      renewal = this.#claimAnew(copy).finally(() => this.#renewals.delete(copy));
      this.#renewals.set(copy, renewal);
    }
    return renewal;
  }

  async #claimAnew(copy: Copy): Promise<void> {
    const beatMs = this.#leaseMs / BEATS_PER_LEASE;
    if (!this.#claimed.has(copy) || this.#nowMs < copy.writableUntilMs - beatMs) return;
    try {
      if (this.#doubtful.delete(copy.index)) await this.#wait(this.#leaseMs);
      const lookedMs = this.#nowMs;
      if (!(await this.#holds(copy))) return this.#takenOver(copy);
      const settleMs = this.#leaseMs / SETTLES_PER_LEASE;
      copy.writableUntilMs = lookedMs + settleMs;
      this.#counter++;
      await copy.device.write(HEARTBEAT_OFFSET_BYTES, [this.#beatFor(copy)]);
      if (this.#nowMs > copy.writableUntilMs) {
        this.#doubtful.add(copy.index);
        throw new CopiesError("busy", copy.name, "too slow to make sure that no other host uses it; try again");
      }
      await this.#wait(settleMs);
      if (!(await this.#holds(copy))) return this.#takenOver(copy);
      copy.writableUntilMs = lookedMs + this.#leaseMs / 2;
    } catch (error) {
      if (error instanceof CopiesError) throw error;
      this.#copies.giveUp(copy, asDeviceError(copy.name, "read", HEARTBEAT_OFFSET_BYTES, error));
    }
  }

  /** Whether a frozen copy has our heartbeat, asked past what holds calls on it. */
  async #holds(copy: Copy): Promise<boolean> {
    const bytes = new Uint8Array(HEARTBEAT_BYTES);
    await copy.device.read(HEARTBEAT_OFFSET_BYTES, [bytes]);
    return this.#isOurs(copy, bytes);
  }

  /** Stops, and says that nobody has the volume mounted any more, unless somebody else has. */
  async release(): Promise<void> {
    this.#ended = true;
    this.#timer?.cancel();
    this.admitNoMore();
    // What just settles is given free by whoever claims it, or is claimed by then. What else is claimed must not wait for that: no beat
    // renews its lease any more.
    const settling = [...this.#admissions.keys()];
    const others = [...this.#claimed].filter(({ uuid }) => !settling.some((copy) => equalBytes(copy.uuid, uuid)));
    const released = Promise.all(others.map((copy) => this.#releaseInTime(copy)));
    if (settling.length > 0) {
      const settleMs = this.#leaseMs / SETTLES_PER_LEASE;
      const settled = Promise.all(this.#admissions.values());
      await Promise.race([settled, this.#wait(settleMs + this.#copies.deadlineMs)]);
    }
    await released;
    const left = [...this.#claimed].filter((copy) => !others.includes(copy));
    await Promise.all(left.map((copy) => this.#releaseInTime(copy)));
  }

  /** A heartbeat left behind costs the next mount a lease, a copy that hangs would cost this one for ever. */
  #releaseInTime(copy: Copy): Promise<void> {
    let release = this.#releases.get(copy);
    if (release === undefined) {
      release = this.#releaseOn(copy).finally(() => {
        this.#releases.delete(copy);
        this.#claimed.delete(copy);
      });
      this.#releases.set(copy, release);
    }
    return Promise.race([release, this.#wait(this.#copies.deadlineMs)]);
  }

  async #releaseOn(copy: Copy): Promise<void> {
    // Those of what it was before would land on what is written here, too.
    const beats = [...this.#underWay].filter(
      ([other]) => other === copy || (equalBytes(other.uuid, copy.uuid) && other.failure === undefined),
    );
    await Promise.all(beats.map(([, beat]) => beat));
    if (copy.failure !== undefined || this.#copies.fenced !== undefined || !(await this.#stillOurs(copy))) return;
    const bytes = new Uint8Array(HEARTBEAT_BYTES);
    await this.#copies.writeAt([{ copy, offsetBytes: HEARTBEAT_OFFSET_BYTES, bytes }]);
  }

  get #nowMs(): number {
    return this.#copies.clock.monotonicMs();
  }

  #wait(durationMs: number): Promise<void> {
    return new Promise((resolve) => this.#copies.clock.after(durationMs, resolve));
  }
}

function lettingGo({ name }: { readonly name: string }): CopiesError {
  return new CopiesError("busy", name, "the volume is being let go of; try again");
}

function silent(copy: Copy, code: "ETIMEDOUT" | "ESTALE"): DeviceError {
  return new DeviceError(
    copy.name,
    "write",
    HEARTBEAT_OFFSET_BYTES,
    code,
    "its heartbeat was not acknowledged in time",
  );
}
