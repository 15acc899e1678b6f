// Power cuts: a workload runs on simulated copies that record every write and flush; then, for points of that record and
// for choices of which unflushed writes reached the medium (all subsets when few, prefixes, single omissions and random
// ones else, torn at sectors), each copy cut at its own point, the volume is opened again. It must mount by itself, its
// tree must be one the model had after the last acknowledged sync or later (I4), and the checker must find nothing.

import { checkVolume } from "../../fsck/check.ts";
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
import { randomStep, runStep } from "../model/workload.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";

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
  readonly states: number;
  readonly failures: readonly string[];
}

export async function record(
  seed: number,
  sizesBytes: readonly number[],
  steps: number,
  maxBytes: number,
): Promise<Recording> {
  const random = new SeededRandom(seed);
  const disk = new SimulatedDisk();
  const formatted = await SimulatedVolume.format(seed, sizesBytes);
  const real = await formatted.remount(undefined, disk);
  const model = new MemoryFileSystem(real.clock);
  for (const fs of [real.fs, model]) {
    for (const name of ["a", "b"]) await runStep(fs, { do: "mkdir", at: [name] });
    for (const name of ["x", "y"]) await runStep(fs, { do: "create", at: ["a", name] });
  }
  await real.fs.sync();
  const firstEvent = disk.events.length;
  const states = [(await describeFileSystem(model)).join("\n")];
  const acknowledged = [{ events: firstEvent, state: 0 }];
  for (let i = 0; i < steps; i++) {
    const step = random.below(8) === 0 ? ({ do: "sync" } as const) : randomStep(random, maxBytes);
    const [got, wanted] = [await runStep(real.fs, step), await runStep(model, step)];
    if (got !== wanted)
      throw new Error(`seed ${seed}, step ${i} ${JSON.stringify(step)}: ${got}, the model says ${wanted}`);
    states.push((await describeFileSystem(model)).join("\n"));
    if (step.do === "sync") acknowledged.push({ events: disk.events.length, state: states.length - 1 });
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

/** All subsets when at most `limit` writes are pending, else random choices. */
function* choices(pending: readonly WriteEvent[], random: SeededRandom, count: number): Generator<Survivor[]> {
  if (2 ** pending.length <= count) {
    for (let mask = 0; mask < 2 ** pending.length; mask++) {
      yield pending.filter((_, i) => (mask >>> i) & 1).map((event) => ({ event }));
    }
    return;
  }
  for (let i = 0; i < count; i++) yield survivors(pending, random);
}

/** Tries crashes all along a recording; stops collecting after a few failures. */
export async function tryCrashes(
  recording: Recording,
  options: { every: number; perCut: number; recrash: boolean },
): Promise<CrashOutcome> {
  const { disk, seed } = recording;
  const random = new SeededRandom(seed ^ 0x5eed);
  const points = Array.from({ length: recording.copies }, (_, device) => new CrashPoint(disk, device));
  const failures: string[] = [];
  let states = 0;
  for (let cut = recording.firstEvent; cut <= disk.events.length; cut++) {
    if ((cut - recording.firstEvent) % options.every !== 0 && cut !== disk.events.length) continue;
    // Copies fail at one instant; what each had buffered is its own matter. (The log is in one order for all.)
    for (const point of points) point.advanceTo(cut);
    const perCopy = points.map((point) => [...choices(point.pending, random, options.perCut)]);
    const rounds = Math.max(...perCopy.map((list) => list.length));
    for (let round = 0; round < rounds; round++) {
      const images = points.map((point, i) => {
        const list = perCopy[i] as Survivor[][];
        return point.image(list[(round + i * random.below(list.length)) % list.length] as Survivor[]);
      });
      states++;
      const problem = await judge(recording, cut, images, options.recrash ? random : undefined);
      if (problem !== undefined) failures.push(`seed ${seed}, cut ${cut}, round ${round}: ${problem}`);
      if (failures.length >= 5) return { states, failures };
    }
  }
  return { states, failures };
}

async function judge(
  recording: Recording,
  cut: number,
  images: readonly PagedImage[],
  again?: SeededRandom,
): Promise<string | undefined> {
  const promised = recording.acknowledged.findLast((sync) => sync.events <= cut)?.state ?? 0;
  try {
    const disk = again === undefined ? undefined : new SimulatedDisk();
    let real = await SimulatedVolume.open(recording.seed, images, disk);
    if (disk !== undefined && again !== undefined) {
      // A second cut, during recovery: anywhere in what opening wrote.
      await real.volume.close();
      const points = images.map((_, device) => new CrashPoint(disk, device));
      const second = again.below(disk.events.length + 1);
      for (const point of points) point.advanceTo(second);
      real = await SimulatedVolume.open(
        recording.seed,
        points.map((point) => point.image(survivors(point.pending, again))),
      );
    }
    const tree = (await describeFileSystem(real.fs)).join("\n");
    const state = recording.states.indexOf(tree, promised);
    if (state < 0) {
      const earlier = recording.states.lastIndexOf(tree);
      return earlier < 0 ? `a tree that never was:\n${tree}` : `state ${earlier}, but ${promised} was acknowledged`;
    }
    await real.volume.close();
    const findings = await checkVolume(real.copies, { everyRoot: true, afterPowerCut: true });
    const bad = findings.filter((finding) => finding.severity !== "note");
    return bad.length === 0 ? undefined : `fsck: ${bad.map((finding) => finding.message).join("; ")}`;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
