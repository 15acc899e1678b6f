// One copy by itself: what it alone holds at the places named, verified, nothing repaired and nothing counted. For whoever
// wants to know about this copy and no other: the freemap of its anchor, scrub, the revalidation of an unknown copy (I6).

import { KIB } from "../format/geometry.ts";
import { type BlockRead, gatherRuns, type Run } from "./block-io.ts";
import type { Copy } from "./copy.ts";
import { CorruptBlockError } from "./errors.ts";
import { verifies } from "./recovery.ts";

/** Reads from a copy; rejects when its device does, or does not answer in time. */
export type ReadAlone = (offsetBytes: number, targets: readonly Uint8Array[]) => Promise<void>;

/** A copy, and how it is read: what is asked of it alone may never be answered. */
export interface ReadableCopy {
  readonly copy: Copy;
  /** Any bytes of it, roots and logs too. */
  readonly read: ReadAlone;
}

/** Made by `CopySet.alone`. */
export class LoneCopy implements ReadableCopy {
  readonly copy: Copy;
  readonly mask: number;
  readonly read: ReadAlone;

  constructor(copy: Copy, read: ReadAlone) {
    this.copy = copy;
    this.mask = copy.bit;
    this.read = read;
  }

  /** Reads each block from this copy; `error` is set on those that are not what their parents remember. Never rejects. */
  async readBlocks(requests: readonly BlockRead[]): Promise<void> {
    const placed: BlockRead[] = [];
    for (const request of requests) {
      const kib = request.pointers[this.copy.index] as number;
      const refusal = kib === 0 ? "has no place" : this.copy.placeRefusal(kib, request.target.length);
      if (refusal === undefined) placed.push(request);
      else this.#bad(request, refusal);
    }
    await Promise.all(
      gatherRuns(placed, this.copy.index, (request) => request.target).map((run) => this.#readRun(run)),
    );
  }

  async #readRun(run: Run<BlockRead>): Promise<void> {
    try {
      await this.read(run.offsetBytes, run.buffers);
    } catch (error) {
      if (run.items.length === 1) return this.#bad(run.items[0] as BlockRead, String(error));
      // One bad place spoils the whole call: each block is asked for by itself.
      for (const item of run.items) {
        const offsetBytes = (item.pointers[this.copy.index] as number) * KIB;
        await this.#readRun({ offsetBytes, buffers: [item.target], items: [item] });
      }
      return;
    }
    for (const request of run.items) if (!verifies(request)) this.#bad(request, "check code does not match");
  }

  #bad(request: BlockRead, reason: string): void {
    const { index, name } = this.copy;
    request.error = new CorruptBlockError(request.target.length, [
      { copyIndex: index, copyName: name, kib: request.pointers[index] as number, reason },
    ]);
  }
}

/** Several copies, asked one after the other for what those before did not have. Nothing is repaired and nothing counted. */
export class AnyCopy {
  readonly mask: number;
  readonly #copies: readonly LoneCopy[];

  constructor(copies: readonly LoneCopy[]) {
    this.mask = copies.reduce((mask, { copy }) => mask | copy.bit, 0);
    this.#copies = copies;
  }

  /** As LoneCopy.readBlocks; `error` is set where no copy has the block. */
  async readBlocks(requests: readonly BlockRead[]): Promise<void> {
    let left = requests;
    for (const copy of this.#copies) {
      for (const request of left) {
        if (request.error === undefined) continue;
        delete request.error;
        // Who did not answer in time may still write into the buffer it was given.
        request.target = new Uint8Array(request.target.length);
      }
      await copy.readBlocks(left);
      left = left.filter(({ error }) => error !== undefined);
      if (left.length === 0) return;
    }
  }
}
