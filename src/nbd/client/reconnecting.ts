// How a lost connection is got back: attempt after attempt, with growing pauses, as long as the policy allows while somebody waits,
// and for ever while nobody does. An attempt that came to a connection counts as failed, too, until a request was answered over
// it: a server that hangs up on a certain request is not asked for it without a pause.

import { messageOf } from "../../base/thrown.ts";
import { ContentLostError, DeviceError } from "../../device/device.ts";
import { attemptMs, backoffMs } from "./policy.ts";
import { NbdRefusedError } from "./refused-error.ts";
import type { LinkOptions, Reached, Way } from "./way.ts";

export interface Reconnected {
  /** A connection is wanted still. */
  readonly isWanted: () => boolean;
  /** Somebody waits for it. */
  readonly isAwaited: () => boolean;
  /** Goes on with what was reached. Rejects with NbdRefusedError when it is something else; DeviceError ends everything. */
  readonly adopt: (reached: Reached) => Promise<void>;
  readonly onTrouble: (reason: string) => void;
  /** It is no use. */
  readonly giveUp: (code: string, reason: string, contentLost: boolean) => void;
}

export class Reconnecting {
  readonly #way: Way;
  readonly #options: LinkOptions;
  readonly #link: Reconnected;
  /** Attempts in a row that came to nothing. */
  #failed = 0;
  /** Those of them that somebody waited for. */
  #awaited = 0;
  /** A request was answered since the last one. */
  #isProven = true;
  #lastTrouble = "";
  /** Ends a pause between two attempts. */
  #hurry: () => void = () => undefined;

  constructor(way: Way, options: LinkOptions, link: Reconnected) {
    this.#way = way;
    this.#options = options;
    this.#link = link;
  }

  /** A request was answered. */
  proven(): void {
    this.#isProven = true;
  }

  /** Somebody waits now: not for a pause that was made while nobody did. */
  hurry(): void {
    this.#hurry();
  }

  /** Resolves when there is a connection again, or none is wanted any more. */
  async restore(): Promise<void> {
    if (this.#isProven) this.#failed = this.#awaited = 0;
    else this.#failed++;
    this.#isProven = false;
    for (; ; this.#failed++) {
      await this.#pause(backoffMs(this.#failed));
      if (!this.#link.isWanted()) return;
      if (this.#link.isAwaited() && this.#awaited++ >= this.#options.policy.retryCount) {
        const tries = this.#awaited - 1;
        return this.#link.giveUp("ENOTCONN", `no connection after ${tries} tries: ${this.#lastTrouble}`, false);
      }
      if (await this.#attempt()) return;
    }
  }

  /** False when another attempt is to be made. */
  async #attempt(): Promise<boolean> {
    let reached: Reached | undefined;
    try {
      reached = await this.#way.reach(attemptMs(this.#options.policy));
      // Given up, or closed, while that went on.
      if (!this.#link.isWanted()) reached.opened.destroy();
      else await this.#link.adopt(reached);
      return true;
    } catch (error) {
      if (reached !== undefined && error instanceof NbdRefusedError) this.#way.blame(reached.address);
      const reason = messageOf(error);
      this.#lastTrouble = reason;
      this.#link.onTrouble(reason);
      if (!(error instanceof DeviceError)) return false;
      this.#link.giveUp(error.code, reason, error instanceof ContentLostError);
      return true;
    }
  }

  #pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(durationMs, resolve);
      this.#hurry = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
