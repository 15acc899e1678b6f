// The resync walk (I8): brings one copy what it is owed, without a queue and without a log of missed writes. Each round
// finds owed blocks from the root down, reads them from the other copies (verified, I5), writes them to free places of
// this copy, flushes it, and only then enters the pointers, in an ordinary transaction. When nothing is owed, the next
// commit takes the copy into the in-sync set. Killed at any point, it goes on from what the tree says is still owed.

import type { BlockRead } from "../copies/block-io.ts";
import type { Copy } from "../copies/copy.ts";
import { KIB } from "../format/geometry.ts";
import { type Freemap, NO_ROOM } from "../freemap/freemap.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, placeOn, readOf } from "./named-block.ts";
import { enterBrought, findOwed } from "./owed.ts";
import type { Pace } from "./pace.ts";

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

interface Reserved {
  readonly owed: NamedBlock;
  readonly read: BlockRead;
  readonly kib: number;
}

export class Resync {
  readonly copy: Copy;
  readonly progress: ResyncProgress = { blocks: 0, bytes: 0 };
  readonly #volume: Volume;
  readonly #pace: Pace;
  /** Blocks met that no copy could read, by `blockKey`: they stay owed, and are not tried again. */
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
  }

  /** How many blocks no copy could read. */
  get unreadable(): number {
    return this.#unreadable.size;
  }

  /** Resolves when the copy is in sync, has no room left, lacks only what can't be read, or the walk was stopped or its copy dropped. */
  async run(): Promise<ResyncEnd> {
    const { store } = this.#volume;
    while (this.#goesOn) {
      store.full &= ~this.copy.bit;
      const limits = { blocksMax: ROUND_BLOCKS, bytesMax: ROUND_BYTES };
      const { blocks, unsealed, passed } = await this.#volume.view(() =>
        findOwed(store, this.#volume.rootImage, this.copy.index, limits, this.#unreadable),
      );
      if (!this.#goesOn) break;
      if (blocks.length > 0) {
        if ((await this.#bring(blocks)) === "no-room") return this.#noRoom();
        if (this.#unreadable.size > UNREADABLE_MAX) return "unreadable";
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

  get #goesOn(): boolean {
    return !this.#stopped && this.copy.standing === "syncing" && this.copy.failure === undefined;
  }

  #noRoom(): ResyncEnd {
    this.copy.noRoom = true;
    return "no-room";
  }

  async #bring(blocks: readonly NamedBlock[]): Promise<ResyncEnd | undefined> {
    const { copies } = this.#volume;
    const freemap = this.#volume.store.freemaps[this.copy.index] as Freemap;
    const reserved = await this.#volume.untilLoaded(() => this.#reserve(freemap, blocks));
    const end = (entered: ReadonlySet<string>): void => {
      for (const { owed, kib } of reserved.splice(0)) {
        freemap.endReservation(kib, owed.sizeBytes / KIB, entered.has(blockKey(owed)));
      }
    };
    const complete = reserved.length === blocks.length;
    try {
      await copies.readBlocks(reserved.map(({ read }) => read));
      const good = reserved.filter(({ read }) => read.error === undefined);
      const bytes = good.reduce((sum, { owed }) => sum + owed.sizeBytes, 0);
      await this.#pace.take(bytes);
      if (!this.#goesOn) return undefined;
      await copies.writeBlocks(
        good.map(({ read, kib }) => ({ pointers: placeOn(this.copy.index, kib), bytes: read.target })),
      );
      await copies.flush(this.copy);
      const brought = new Map(good.map(({ owed, kib }) => [blockKey(owed), kib]));
      // A narrow block may lie only on copies that are away: it stays theirs alone.
      const waived = new Set(
        reserved
          .filter(({ owed, read }) => owed.holders !== 0 && read.error !== undefined)
          .map(({ owed }) => blockKey(owed)),
      );
      for (const { owed, read } of reserved) {
        if (owed.holders === 0 && read.error !== undefined) this.#unreadable.add(blockKey(owed));
      }
      await this.#volume.maintain(({ store }) => {
        if (!this.#goesOn) return;
        const { rootImage } = this.#volume;
        // Bitmap and pointers change in the same step: no commit may come between them.
        end(enterBrought(store, rootImage, this.copy.index, brought, waived, this.#unreadable));
      });
      this.progress.blocks += good.length;
      this.progress.bytes += bytes;
    } finally {
      end(new Set());
    }
    return complete ? undefined : "no-room";
  }

  /** Places for as many of the blocks as there is room for. May throw MISS before anything is reserved. */
  #reserve(freemap: Freemap, blocks: readonly NamedBlock[]): Reserved[] {
    const reserved: Reserved[] = [];
    try {
      for (const owed of blocks) {
        const kib = freemap.reserve(owed.sizeBytes / KIB);
        if (kib === NO_ROOM) break;
        reserved.push({ owed, read: readOf(owed), kib });
      }
    } catch (error) {
      for (const { owed, kib } of reserved) freemap.endReservation(kib, owed.sizeBytes / KIB, false);
      throw error;
    }
    return reserved;
  }
}
