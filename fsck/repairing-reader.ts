// Reads every copy of each block, as a check does, and at once writes a good one over those that are bad: for a copy with more
// bad blocks than a list of findings holds. A repair is written, flushed by whoever reads, and read back (I5).

import type { BlockRead } from "../src/copies/block-io.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import { KIB } from "../src/format/geometry.ts";
import type { BlockReader } from "../src/walk/read-batch.ts";

/** True for a place on a copy that something else may have its good block in. */
export type IsContested = (copy: number, kib: number, sizeBytes: number) => boolean;

export class RepairingReader implements BlockReader {
  readonly #copies: CopySet;
  readonly #reader: BlockReader;
  readonly #isContested: IsContested;

  /** `reader` reads from `copies`. */
  constructor(copies: CopySet, reader: BlockReader, isContested: IsContested) {
    this.#copies = copies;
    this.#reader = reader;
    this.#isContested = isContested;
  }

  get mask(): number {
    return this.#reader.mask;
  }

  get left(): number {
    return this.#reader.left ?? 0;
  }

  /** As the reader below; `error` is gone from requests whose place was repaired. */
  async readBlocks(requests: readonly BlockRead[]): Promise<void> {
    await this.#reader.readBlocks(requests);
    for (let from = 0; from < requests.length; ) {
      let end = from + 1;
      // The requests for one block, a copy each, share what the parent remembers of it.
      while (end < requests.length && requests[end]?.check === requests[from]?.check) end++;
      const block = requests.slice(from, end);
      const good = block.find(({ error }) => error === undefined);
      if (good !== undefined) {
        for (const request of block) if (request.error !== undefined) await this.#repair(request, good.target);
      }
      from = end;
    }
  }

  async #repair(request: BlockRead, good: Uint8Array): Promise<void> {
    const copy = this.#copies.copy(request.pointers.findIndex((kib) => kib !== 0));
    const kib = copy === undefined ? 0 : (request.pointers[copy.index] as number);
    if (copy === undefined || copy.failure !== undefined || this.#isContested(copy.index, kib, good.length)) return;
    const again: BlockRead = { ...request, target: new Uint8Array(good.length) };
    delete again.error;
    try {
      await this.#copies.writeAt([{ copy, offsetBytes: kib * KIB, bytes: good }]);
      await this.#reader.readBlocks([again]);
    } catch {
      return; // It stays among the findings.
    }
    if (again.error !== undefined) return;
    request.target.set(again.target);
    delete request.error;
    copy.repaired++;
  }
}
