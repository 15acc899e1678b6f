// A small volume in memory for a worker to practise on: laid out, opened and written as one in image files is, on one copy
// or two. Nobody else can reach it, and nothing of it is left when its descriptors are closed.

import type { Clock } from "../../base/clock.ts";
import { type Random, SystemRandom } from "../../base/random.ts";
import { randomUuid } from "../../base/uuid.ts";
import { assembleCopies } from "../../copies/assemble.ts";
import { formatCopies } from "../../copies/layout.ts";
import { closeTargets, type OpenTarget } from "../../copies/targets.ts";
import { FileNode } from "../../device/file-node.ts";
import { CheckType } from "../../format/check.ts";
import { Journal, RECORD_BYTES_MAX } from "../../log/journal.ts";
import { FileSystem } from "../../posix/filesystem.ts";
import { formatVolume } from "../../volume/format-volume.ts";
import { openVolume } from "../../volume/open.ts";
import { CACHE_BYTES_MIN, type Volume } from "../../volume/volume.ts";
import { anonymousFile } from "../shared-memory.ts";

/** Of each copy, most of which is written to in the end. */
const COPY_BYTES = 24 * 1024 * 1024;
/** More of them are written to by the same code. */
const COPIES_MAX = 2;
/** As small as a journal may be: it is full now and then, and a commit begins. */
const JOURNAL_BYTES = 3 * RECORD_BYTES_MAX;
const COMMIT_MS = 5000;
/** What it takes at most, with what the process needs to work on it. */
export const PRACTICE_BYTES = COPIES_MAX * COPY_BYTES + 24 * 1024 * 1024;

export class PracticeVolume {
  readonly fs: FileSystem;
  readonly #volume: Volume;

  private constructor(volume: Volume, clock: Clock) {
    this.#volume = volume;
    this.fs = new FileSystem(volume, clock);
  }

  /** For a real volume of so many copies. Rejects with SystemError when there is no memory for it. */
  static async make(copyCount: number, clock: Clock): Promise<PracticeVolume> {
    const targets: OpenTarget[] = [];
    try {
      for (let index = 0; index < Math.min(copyCount, COPIES_MAX); index++) targets.push(memoryTarget(index));
      const options = { clock, cacheBytes: CACHE_BYTES_MIN, random: new SystemRandom() };
      await format(targets, options);
      const journal = new Journal(new Uint8Array(JOURNAL_BYTES));
      const copies = await assembleCopies(targets, { clock });
      return new PracticeVolume(await openVolume(copies, { ...options, commitMs: COMMIT_MS, journal }), clock);
    } catch (error) {
      await closeTargets(targets);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.fs.close();
    await this.#volume.close();
    await this.#volume.copies.close();
  }
}

async function format(
  targets: readonly OpenTarget[],
  options: { clock: Clock; cacheBytes: number; random: Random },
): Promise<void> {
  const identity = { volumeUuid: randomUuid(options.random), label: "", random: options.random };
  const copies = await formatCopies(
    targets.map((target) => ({ ...target, copies: 1 })),
    identity,
  );
  const volume = await formatVolume(copies, {
    ...options,
    ...identity,
    uid: 0,
    gid: 0,
    checkType: CheckType.XXH64,
    commitMs: 0,
  });
  await volume.close();
}

function memoryTarget(index: number): OpenTarget {
  const name = `memory ${index}`;
  const facts = { sizeBytes: COPY_BYTES, identity: name, incarnation: name, writable: true, keepsCached: true };
  const fd = anonymousFile("h2ts practice", COPY_BYTES);
  return { name, devices: [new FileNode(name, fd, { ...facts, letGo: () => Promise.resolve() })] };
}
