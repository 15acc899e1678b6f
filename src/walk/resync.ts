// The resync walk (I8): brings one copy what it is owed, without a queue and without a log of missed writes. Each round
// finds owed blocks from the root down, reads them from the other copies (verified, I5), writes them to free places of
// this copy, flushes it, and only then enters the pointers, in an ordinary transaction. When nothing is owed, the next
// commit takes the copy into the in-sync set. Killed at any point, it goes on from what the tree says is still owed.

import type { Copy } from "../copies/copy.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, placeOn } from "./named-block.ts";
import { enterBrought, findOwed } from "./owed.ts";
import type { Pace } from "./pace.ts";
import { giveBack, NONE, reserveAndRead, reservePlaces, useReserved } from "./reserved-places.ts";

/** One round: enough for large device calls, little enough to be over soon. */
const ROUND_BLOCKS = 1024;
const ROUND_BYTES = 8 * 1024 * 1024;

/** Blocks that no copy can read; with more it is the disks that are at fault, and going on is of no use. */
const UNREADABLE_MAX = 65_536;

/** `unreadable`: all that can be read is there, but for the rest it stays out of sync. */
export type ResyncEnd = "complete" | "no-room" | "unreadable" | "stopped";

export interface ResyncProgress {
  /** Blocks and bytes brought so far, since the walk began. */
  blocks: number;
  bytes: number;
}

export class Resync {
  readonly copy: Copy;
  readonly progress: ResyncProgress = { blocks: 0, bytes: 0 };
  readonly #volume: Volume;
  readonly #pace: Pace;
  /** Blocks met that no copy could read, by `blockKey`: they stay owed with all below them, and are not tried again. */
  readonly #unreadable = new Set<string>();
  #stopped = false;

  constructor(volume: Volume, copy: Copy, pace: Pace) {
    this.#volume = volume;
    this.copy = copy;
    this.#pace = pace;
  }

  /** Ends the walk after the round under way; what was brought stays. */
  stop(): void {
    this.#stopped = true;
    this.#pace.hurry(this);
  }

  /** How many blocks no copy could read. */
  get unreadable(): number {
    return this.#unreadable.size;
  }

  /** Resolves when the copy is in sync, has no room left, lacks only what can't be read, or the walk was stopped or its copy dropped. */
  async run(): Promise<ResyncEnd> {
    const { store } = this.#volume;
    while (this.goesOn) {
      store.full &= ~this.copy.bit;
      const limits = { blocksMax: ROUND_BLOCKS, bytesMax: ROUND_BYTES };
      const { blocks, unsealed, passed } = await this.#volume.view(() =>
        findOwed(store, this.#volume.rootImage, this.copy.index, limits, this.#unreadable),
      );
      if (!this.goesOn) break;
      if (this.#unreadable.size > UNREADABLE_MAX) return "unreadable";
      if (blocks.length > 0) {
        if ((await this.#bring(blocks)) === "no-room") return this.#noRoom();
        continue;
      }
      // What is dirty can be copied once it is sealed; if nothing is owed, this commit is the one the copy joins with.
      await this.#volume.forceCommit();
      // Whoever revalidates it has to begin: all that is owed is there, but not all that is there is trusted.
      if (!unsealed && this.copy.untrusted) return "stopped";
      if (unsealed && (store.full & this.copy.bit) !== 0) return this.#noRoom();
      if (!unsealed && passed > 0) return "unreadable";
    }
    return this.copy.standing === "in-sync" ? "complete" : "stopped";
  }

  /** False once it was stopped, or its copy is not being caught up any more. */
  get goesOn(): boolean {
    return !this.#stopped && this.copy.standing === "syncing" && this.copy.failure === undefined;
  }

  #noRoom(): ResyncEnd {
    this.copy.noRoom = true;
    return "no-room";
  }

  async #bring(blocks: readonly NamedBlock[]): Promise<ResyncEnd | undefined> {
    const { copies, store } = this.#volume;
    const only = [this.copy.index];
    const reserved = await reserveAndRead(this.#volume, () =>
      reservePlaces(store, blocks, () => only, { whileRoom: true }),
    );
    const complete = reserved.length === blocks.length;
    try {
      const good = reserved.filter(({ read }) => read.error === undefined);
      const bytes = good.reduce((sum, { named }) => sum + named.sizeBytes, 0);
      if (this.goesOn) await this.#pace.take(this, bytes);
      if (!this.goesOn) return undefined;
      await copies.writeBlocks(
        good.map(({ read, kib }) => ({ pointers: placeOn(this.copy.index, kib), bytes: read.target })),
      );
      await copies.flush(this.copy);
      const brought = new Map(good.map(({ named, kib }) => [blockKey(named), kib]));
      // A narrow block may lie only on copies that are away: it stays theirs alone.
      const waived = new Set(
        reserved
          .filter(({ named, read }) => named.holders !== 0 && read.error !== undefined)
          .map(({ named }) => blockKey(named)),
      );
      for (const { named, read } of reserved) {
        if (named.holders === 0 && read.error !== undefined) this.#unreadable.add(blockKey(named));
      }
      const entered = await this.#volume.maintain(() => {
        if (!this.goesOn) return NONE;
        const { rootImage } = this.#volume;
        // Bitmap and pointers change in the same step: no commit may come between them.
        const found = enterBrought(store, rootImage, this.copy.index, brought, waived, this.#unreadable);
        useReserved(store, reserved, found);
        return found;
      });
      giveBack(store, reserved, entered);
      this.progress.blocks += good.length;
      this.progress.bytes += bytes;
    } finally {
      giveBack(store, reserved, NONE);
    }
    return complete ? undefined : "no-room";
  }
}
