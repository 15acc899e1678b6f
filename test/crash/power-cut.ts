// Power cuts: a workload runs on simulated copies that record every write and flush; then, for points of that record and
// for choices of which unflushed writes reached the medium (all subsets when few, prefixes, single omissions and random
// ones else, torn at sectors), each copy cut at its own point, the volume is opened again. It must mount by itself, its
// tree must be one the model had after the last acknowledged sync or later (I4), also when only one of the copies is there
// (I2), and the checker must find nothing.

import { SeededRandom } from "../../src/base/random.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import {
  CrashPoint,
  SECTOR_BYTES,
  SimulatedDisk,
  type Survivor,
  type WriteEvent,
} from "../../src/device/simulated-disk.ts";
import { describeFileSystem } from "../model/digest.ts";
import { SimulatedVolume } from "../model/simulated-volume.ts";
import { randomStep, runStep, type Step } from "../model/workload.ts";
import { treeOf } from "../sim/copies-scene.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";
import { CheckedMedia, GoodMedia, JudgedMedia, LoneTrees } from "./judged-media.ts";

/** A workload that ran, and what the disk and the model remember of it. */
export interface Recording {
  readonly seed: number;
  readonly disk: SimulatedDisk;
  readonly copies: number;
  /** Trees of the model after each completed step, as text. */
  readonly states: readonly string[];
  /** For each acknowledged sync: length of the record when it returned, and the state it promised. */
  readonly acknowledged: readonly { readonly events: number; readonly state: number }[];
  /** Length of the record when the volume was first made. */
  readonly firstEvent: number;
}

export interface CrashOutcome {
  /** Distinct states judged. */
  readonly states: number;
  /** Those of them that were opened; the others could not be told from one of these by what was read of it. */
  readonly opened: number;
  readonly failures: readonly string[];
}

const WINDOW_BYTES = 65536;
/** Of so many states one is also looked at through a single copy. */
const ALONE_EVERY = 4;

/** A step of random work; where files may be that large, whole windows of the same few are written over and over. */
function someStep(random: SeededRandom, maxBytes: number): Step {
  if (random.below(8) === 0) return { do: "sync" };
  if (maxBytes < 2 * WINDOW_BYTES || random.below(6) !== 0) return randomStep(random, maxBytes);
  const at = ["a", random.below(2) === 0 ? "x" : "y"];
  const [offset, length] = [random.below(2) * WINDOW_BYTES, (1 + random.below(2)) * WINDOW_BYTES];
  return { do: "write", at, offset, length, fill: random.below(256) };
}

/**
 * Runs random work, now and then while a commit is under way. With `logged` a sync goes through the log, else it is a commit.
 */
export async function record(
  seed: number,
  sizesBytes: readonly number[],
  steps: number,
  maxBytes: number,
  logged = true,
): Promise<Recording> {
  const random = new SeededRandom(seed);
  const disk = new SimulatedDisk();
  const formatted = await SimulatedVolume.format(seed, sizesBytes);
  const real = await formatted.remount(undefined, disk, logged);
  const model = new MemoryFileSystem(real.clock);
  for (const fs of [real.fs, model]) {
    for (const name of ["a", "b"]) await runStep(fs, { do: "mkdir", at: [name] });
    for (const name of ["x", "y"]) await runStep(fs, { do: "create", at: ["a", name] });
  }
  await real.fs.sync();
  const firstEvent = disk.events.length;
  const states = [(await describeFileSystem(model)).join("\n")];
  const acknowledged = [{ events: firstEvent, state: 0 }];
  while (states.length <= steps) {
    // The model first: nothing but the volume's own work then lies between one step and the next.
    const burst = Array.from({ length: 1 + random.below(6) }, () => someStep(random, maxBytes));
    const before = states.length;
    const wanted: string[] = [];
    for (const step of burst) {
      wanted.push(await runStep(model, step));
      states.push((await describeFileSystem(model)).join("\n"));
    }
    const committing = random.below(5) === 0 ? real.volume.forceCommit() : Promise.resolve();
    for (const [i, step] of burst.entries()) {
      const got = await runStep(real.fs, step);
      if (got !== wanted[i])
        throw new Error(
          `seed ${seed}, step ${before + i} ${JSON.stringify(step)}: ${got}, the model says ${wanted[i]}`,
        );
      if (step.do === "sync") acknowledged.push({ events: disk.events.length, state: before + i });
    }
    await committing;
  }
  return { seed, disk, copies: sizesBytes.length, states, acknowledged, firstEvent };
}

/** Which of `pending` survive, chosen by `random`: sometimes all, none, a prefix, all but one, a subset; some torn. */
export function survivors(pending: readonly WriteEvent[], random: SeededRandom): Survivor[] {
  const kind = random.below(6);
  const index = pending.length === 0 ? 0 : random.below(pending.length);
  const chosen = pending.filter((_, i) => {
    if (kind === 0) return true;
    if (kind === 1) return false;
    if (kind === 2) return i <= index;
    if (kind === 3) return i !== index;
    return random.below(2) === 0;
  });
  return chosen.map((event) => {
    const sectors = Math.ceil(event.bytes.length / SECTOR_BYTES);
    if (random.below(6) !== 0 || sectors < 2) return { event };
    return { event, sectors: Array.from({ length: sectors }, () => random.below(2) === 0) };
  });
}

/** All subsets of whole writes when they are at most `count`, and as many random choices, torn ones among them. */
function* choices(pending: readonly WriteEvent[], random: SeededRandom, count: number): Generator<Survivor[]> {
  if (2 ** pending.length <= count) {
    for (let mask = 0; mask < 2 ** pending.length; mask++) {
      yield pending.filter((_, i) => (mask >>> i) & 1).map((event) => ({ event }));
    }
  }
  if (pending.length === 0) return;
  for (let i = 0; i < count; i++) yield survivors(pending, random);
}

/** Tries crashes all along a recording; stops collecting after a few failures. */
export async function tryCrashes(
  recording: Recording,
  options: { every: number; perCut: number; recrash: boolean; failuresMax?: number },
): Promise<CrashOutcome> {
  const { disk, seed } = recording;
  const random = new SeededRandom(seed ^ 0x5eed);
  const points = Array.from({ length: recording.copies }, (_, device) => new CrashPoint(disk, device));
  const judged = new JudgedMedia();
  const good = new GoodMedia<string>();
  const lone = new LoneTrees();
  const checked = new CheckedMedia(seed);
  let opened = 0;
  let first = 0;
  const outcome = (): CrashOutcome => ({ states: judged.distinct, opened, failures });
  const failures: string[] = [];
  for (let cut = recording.firstEvent; cut <= disk.events.length; cut++) {
    if ((cut - recording.firstEvent) % options.every !== 0 && cut !== disk.events.length) continue;
    // Copies fail at one instant; what each had buffered is its own matter. (The log is in one order for all.)
    for (const point of points) point.advanceTo(cut);
    const promised = recording.acknowledged.findLast((sync) => sync.events <= cut)?.state ?? 0;
    const perCopy = points.map((point) => [...choices(point.pending, random, options.perCut)]);
    const rounds = Math.max(...perCopy.map((list) => list.length));
    for (let round = 0; round < rounds; round++) {
      const images = points.map((point, i) => {
        const list = perCopy[i] as Survivor[][];
        return point.image(list[(round + i * random.below(list.length)) % list.length] as Survivor[]);
      });
      if (!judged.wants(images, promised)) continue;
      try {
        const tree = good.like(images);
        if (tree !== undefined) {
          promisedTree(recording, promised, tree);
          continue;
        }
        const recovery = options.recrash ? new SimulatedDisk() : undefined;
        opened++;
        await good.judge(images, async (watched) => {
          if (watched.length > 1 && first++ % ALONE_EVERY === 0) {
            const only = random.below(watched.length);
            const tree = await lone.of(watched, only, (alone) => treeOf(seed, alone, { degraded: true }));
            promisedTree(recording, promised, tree, `copy ${only} alone: `);
          }
          return judge(recording, promised, watched, checked, 1, recovery);
        });
        if (recovery === undefined || recovery.events.length === 0) continue;
        // A second cut, during recovery: anywhere in what opening wrote.
        const second = random.below(recovery.events.length + 1);
        const torn = images.map((_, device) => {
          const point = new CrashPoint(recovery, device);
          point.advanceTo(second);
          return point.image(survivors(point.pending, random));
        });
        if (!judged.wants(torn, promised)) continue;
        opened++;
        await judge(recording, promised, torn, checked, 2);
      } catch (error) {
        const problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
        failures.push(`seed ${seed}, cut ${cut}, round ${round}: ${problem}`);
      }
      if (failures.length >= (options.failuresMax ?? 5)) return outcome();
    }
  }
  return outcome();
}

/** Throws when the media do not hold the state promised, or a later one, whole. Gives its tree; `disk` records opening it. */
async function judge(
  recording: Recording,
  promised: number,
  images: readonly PagedImage[],
  checked: CheckedMedia,
  powerCuts: number,
  disk?: SimulatedDisk,
): Promise<string> {
  // Whoever judges needs no log of its own: its journal would cost more than all the rest.
  const real = await SimulatedVolume.open(recording.seed, images, disk, undefined, false);
  const tree = (await describeFileSystem(real.fs)).join("\n");
  promisedTree(recording, promised, tree);
  await real.volume.close();
  await checked.check(
    real.devices.map(({ image }) => image),
    powerCuts,
  );
  return tree;
}

function promisedTree({ states }: Recording, promised: number, tree: string, where = ""): void {
  if (states.indexOf(tree, promised) >= 0) return;
  const earlier = states.lastIndexOf(tree);
  throw new Error(
    earlier < 0
      ? `${where}a tree that never was:\n${tree}`
      : `${where}state ${earlier}, but ${promised} was acknowledged`,
  );
}
