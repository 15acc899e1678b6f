// Copies on servers come back by themselves: when one was dropped, or was not there at the mount, its server is asked now and
// then whether it is there again, and the copy brought back like one that the operator brings online. What the operator took
// out stays out, and so does what can't be taken back without a decision.

import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/thrown.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { isRemoteTarget, splitRow } from "../nbd/target.ts";
import type { Volume } from "../volume/volume.ts";
import { bringBack } from "./bring-back.ts";
import type { Caretaker } from "./caretaker.ts";

const FIRST_MS = 2000;
const LONGEST_MS = 60_000;

export interface ComebackOptions {
  readonly clock: Clock;
  /** Whether a server answers for a node; opens nothing. */
  readonly answers: (node: string) => Promise<boolean>;
  /** Told in one line what keeps a copy from coming back. */
  readonly onNote: (line: string) => void;
}

export class Comeback {
  readonly #volume: Volume;
  readonly #caretaker: Caretaker;
  readonly #options: ComebackOptions;
  /** What was said last of each copy: it is said once. */
  readonly #said = new Map<number, string>();
  #timer: Timer | undefined;
  #waitMs = FIRST_MS;
  #underWay: Promise<void> = Promise.resolve();
  #started = false;
  #closed = false;

  constructor(volume: Volume, caretaker: Caretaker, options: ComebackOptions) {
    this.#volume = volume;
    this.#caretaker = caretaker;
    this.#options = options;
  }

  start(): void {
    this.#started = true;
    this.#schedule();
  }

  /** A copy may have come, or moved to another place. */
  membersChanged(): void {
    if (this.#started) this.#schedule();
  }

  /** While all copies are local there is nothing to look for, and an idle mount sleeps. */
  #schedule(): void {
    if (this.#timer !== undefined || this.#closed || !this.#hasRemoteMember()) return;
    this.#timer = this.#options.clock.after(this.#waitMs, () => {
      this.#underWay = this.#round().finally(() => {
        this.#timer = undefined;
        this.#schedule();
      });
    });
  }

  #hasRemoteMember(): boolean {
    for (let index = 0; index < COPIES_MAX; index++) {
      const target = rootLastSeen(this.#volume.rootImage.view, index)?.target ?? "";
      if (splitRow(this.#volume.copies.copy(index)?.name ?? target).some(isRemoteTarget)) return true;
    }
    return false;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#underWay;
  }

  async #round(): Promise<void> {
    let away = 0;
    for (let index = 0; index < COPIES_MAX && !this.#closed; index++) {
      const nodes = this.#awaited(index);
      if (nodes === undefined) continue;
      away++;
      if (!(await this.#answer(index, nodes)) || this.#closed || this.#awaited(index) === undefined) continue;
      await bringBack(this.#volume, this.#caretaker, index).then(
        () => void this.#said.delete(index),
        (error: unknown) => this.#say(index, messageOf(error)),
      );
    }
    this.#waitMs = away === 0 ? FIRST_MS : Math.min(LONGEST_MS, this.#waitMs * 2);
  }

  /** Whether the servers of all nodes answer. Where the root remembers a node by a name that is none, they never do (I12). */
  async #answer(index: number, nodes: readonly string[]): Promise<boolean> {
    try {
      const answers = await Promise.all(nodes.filter(isRemoteTarget).map(this.#options.answers));
      return !answers.includes(false);
    } catch (error) {
      this.#say(index, messageOf(error));
      return false;
    }
  }

  /** The nodes of a copy that is away and may come back, if some of them are remote. */
  #awaited(index: number): string[] | undefined {
    if (this.#volume.readOnly !== undefined || this.#caretaker.isReplacing(index)) return undefined;
    const seen = rootLastSeen(this.#volume.rootImage.view, index);
    const copy = this.#volume.copies.copy(index);
    if (seen === undefined || (seen.flags & (MemberFlag.OFFLINE | MemberFlag.LEAVING)) !== 0) return undefined;
    if (copy !== undefined && copy.standing !== "faulted") return undefined;
    const nodes = splitRow(copy?.name ?? seen.target);
    return nodes.some(isRemoteTarget) ? nodes : undefined;
  }

  #say(index: number, reason: string): void {
    if (this.#said.get(index) === reason) return;
    this.#said.set(index, reason);
    this.#options.onNote(`copy ${index} does not come back: ${reason}`);
  }
}
