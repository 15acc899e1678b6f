// Power cuts while copies leave and return. A workload runs on copies that record every write and flush; one of them fails
// on the way (`recordLoss`), or is away at the start and is taken back and caught up meanwhile (`recordReturn`). Then the
// power is cut anywhere, the copies are mounted again, and have to end in sync, sound, and each whole by itself (I1–I8).
// While a copy is caught up, its last complete state must be there to go back to at every instant (I7).
// Where the seed is even, syncs go through the log.

import { bitCount } from "../../src/base/bits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { Journal } from "../../src/log/journal.ts";
import type { OpenOptions } from "../../src/volume/open.ts";
import { describeFileSystem } from "../model/digest.ts";
import { formatted, type Images, imagesOf, mount, treeOf, unmount, Workload } from "../sim/copies-scene.ts";
import { JOURNAL_BYTES } from "../model/simulated-volume.ts";
import { CheckedMedia, GoodMedia, JudgedMedia, LoneTrees } from "./judged-media.ts";
import { type CrashOutcome, survivors } from "./power-cut.ts";
import { isPartOf, lossyTreeOf, setCopies } from "../sim/narrow-scene.ts";

export interface CopyRecording {
  readonly seed: number;
  readonly disk: SimulatedDisk;
  readonly copyCount: number;
  /** The copy that leaves or returns. */
  readonly copy: number;
  /** File data is on one copy only, so no copy alone has everything. */
  readonly narrow: boolean;
  readonly states: readonly string[];
  readonly acknowledged: readonly { readonly events: number; readonly state: number }[];
  /** What the copy held by itself when it was away: the state to go back to while it is caught up. */
  readonly anchored: string | undefined;
  /** Images at the end, without any cut. */
  readonly images: Images;
}

const isLogged = (seed: number): boolean => seed % 2 === 0;

/** More than the head of a journal. */
const JOURNAL_HEAD_BYTES = 4096;
/** One journal for all: mounts follow one another here, and each begins it anew. */
const journalMemory = new Uint8Array(JOURNAL_BYTES);

/** Where operations are noted on a mount whose syncs go through the log. */
function journalFor(seed: number): Pick<OpenOptions, "journal"> {
  if (!isLogged(seed)) return {};
  journalMemory.fill(0, 0, JOURNAL_HEAD_BYTES);
  return { journal: new Journal(journalMemory) };
}

/** Runs steps, noting the tree after each and what each sync acknowledged. */
async function work(
  mounted: Awaited<ReturnType<typeof mount>>,
  workload: Workload,
  disk: SimulatedDisk,
  { steps, logged }: { readonly steps: number; readonly logged: boolean },
  before: (step: number) => void = () => undefined,
): Promise<Pick<CopyRecording, "states" | "acknowledged">> {
  const syncEvery = logged ? 3 : 7;
  // The first commits after opening provide the log.
  if (logged) for (let i = 0; i < 2; i++) await mounted.volume.forceCommit();
  const states = [await workload.tree()];
  const acknowledged = [{ events: disk.events.length, state: 0 }];
  for (let step = 0; step < steps; step++) {
    before(step);
    await workload.run(mounted.fs, 1);
    states.push(await workload.tree());
    if (step % syncEvery !== syncEvery - 1) continue;
    await mounted.fs.sync();
    acknowledged.push({ events: disk.events.length, state: states.length - 1 });
  }
  return { states, acknowledged };
}

export async function recordLoss(
  seed: number,
  sizesBytes: readonly number[],
  copy: number,
  narrow = false,
): Promise<CopyRecording> {
  const random = new SeededRandom(seed);
  const workload = new Workload(seed, 150_000);
  let mounted = await mount(seed, await formatted(seed, sizesBytes));
  if (narrow) await setCopies(mounted.fs, "", 1);
  await workload.begin(mounted.fs);
  await workload.run(mounted.fs, 10);
  await unmount(mounted);
  const disk = new SimulatedDisk();
  mounted = await mount(seed, imagesOf(mounted.devices), { disk, ...journalFor(seed) });
  const operation = random.below(2) === 0 ? "write" : "flush";
  const nth = 1 + random.below(operation === "write" ? 12 : 4);
  const did = await work(mounted, workload, disk, { steps: 28, logged: isLogged(seed) }, (step) => {
    if (step === 5)
      mounted.devices[copy]!.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
  });
  await unmount(mounted);
  const images = imagesOf(mounted.devices);
  return { seed, disk, copyCount: sizesBytes.length, copy, narrow, ...did, anchored: undefined, images };
}

export async function recordReturn(
  seed: number,
  sizesBytes: readonly number[],
  copy: number,
  narrow = false,
): Promise<CopyRecording> {
  const workload = new Workload(seed, 150_000);
  let mounted = await mount(seed, await formatted(seed, sizesBytes));
  if (narrow) await setCopies(mounted.fs, "", 1);
  await workload.begin(mounted.fs);
  await workload.run(mounted.fs, 15);
  await unmount(mounted);
  const complete = await workload.tree();
  const together = imagesOf(mounted.devices);
  mounted = await mount(
    seed,
    together.map((image, i) => (i === copy ? undefined : image)),
    { degraded: true },
  );
  await workload.run(mounted.fs, 25, { someAway: narrow });
  await unmount(mounted);
  const apart = imagesOf(mounted.devices).map((image, i) => image ?? together[i]);
  const anchored = await forcedTree(seed, alone(apart, copy), copy, narrow);
  if (narrow ? !isPartOf(anchored, complete) : anchored !== complete)
    throw new Error(`the copy alone had another tree than all together:\n${anchored}`);
  const disk = new SimulatedDisk();
  mounted = await mount(seed, apart, { disk, ...journalFor(seed) });
  const did = await work(mounted, workload, disk, { steps: 21, logged: isLogged(seed) });
  await mounted.caretaker.settled();
  await unmount(mounted);
  return {
    seed,
    disk,
    copyCount: sizesBytes.length,
    copy,
    narrow,
    ...did,
    anchored,
    images: imagesOf(mounted.devices),
  };
}

/** What one copy makes of it by itself, made master by force. */
function forcedTree(seed: number, alone: Images, copy: number, narrow: boolean): Promise<string> {
  return (narrow ? lossyTreeOf : treeOf)(seed, alone, { forcedMaster: copy });
}

function alone(images: Images, copy: number): Images {
  return images.map((image, i) => (i === copy ? image : undefined));
}

/** Cuts the power at `count` random points, `perCut` choices of what survives at each. */
export async function cutPower(
  recording: CopyRecording,
  count: number,
  perCut: number,
  twice: boolean,
): Promise<CrashOutcome> {
  const { seed, disk } = recording;
  const random = new SeededRandom(seed ^ 0xc0);
  const cuts = Array.from({ length: count }, () => random.below(disk.events.length + 1)).sort((a, b) => a - b);
  const points = Array.from({ length: recording.copyCount }, (_, device) => new CrashPoint(disk, device));
  const judged = new JudgedMedia();
  const good = new GoodMedia<Trees>();
  const known = { forced: new LoneTrees(), alone: new LoneTrees(), checked: new CheckedMedia(seed) };
  const failures: string[] = [];
  let opened = 0;
  for (const cut of cuts) {
    for (const point of points) point.advanceTo(cut);
    const promised = recording.acknowledged.findLast(({ events }) => events <= cut)?.state ?? 0;
    for (let choice = 0; choice < perCut; choice++) {
      const images = points.map((point) => point.image(survivors(point.pending, random)));
      if (!judged.wants(images, promised)) continue;
      try {
        const trees = good.like(images);
        if (trees !== undefined) promisedTrees(recording, promised, trees);
        else {
          opened++;
          await good.judge(images, (watched) => judge(recording, promised, watched, known, twice ? random : undefined));
        }
      } catch (error) {
        const problem = error instanceof Error ? error.stack : String(error);
        failures.push(`seed ${seed}, cut ${cut} of ${disk.events.length}: ${problem}`);
        if (failures.length >= 3) return { states: judged.distinct, opened, failures };
      }
    }
  }
  return { states: judged.distinct, opened, failures };
}

/** What media lead to. */
interface Trees {
  /** By the copy that is caught up alone, made master by force. */
  readonly forced: string | undefined;
  readonly all: string;
}

/**
 * Throws unless each tree is the one promised or a later one; the copy that is caught up may give what it had before, all of
 * it, or of a later state what it has.
 */
function promisedTrees(recording: CopyRecording, promised: number, { forced, all }: Trees): void {
  const { states, anchored, narrow } = recording;
  const refuse = (tree: string, first: number, is: (state: string) => boolean): void => {
    if (states.some((state, i) => i >= first && is(state))) return;
    const earlier = states.findIndex(is);
    throw new Error(
      earlier < 0 ? `a tree that never was:\n${tree}` : `state ${earlier}, but ${first} was acknowledged`,
    );
  };
  refuse(all, promised, (state) => state === all);
  if (forced === undefined || forced === anchored) return;
  // Its log ends where it would change what others have alone.
  if (narrow) refuse(forced, isLogged(recording.seed) ? 0 : promised, (state) => isPartOf(forced, state));
  else refuse(forced, promised, (state) => state === forced);
}

/** What was found out before about media of one recording. */
interface Known {
  readonly forced: LoneTrees;
  readonly alone: LoneTrees;
  readonly checked: CheckedMedia;
}

async function judge(
  recording: CopyRecording,
  promised: number,
  images: Images,
  known: Known,
  again?: SeededRandom,
): Promise<Trees> {
  const { seed, copy, anchored, narrow } = recording;
  const forced =
    anchored === undefined
      ? undefined
      : await known.forced.of(images, copy, (alone) => forcedTree(seed, alone, copy, narrow));
  let now = images;
  if (again !== undefined) {
    const disk = new SimulatedDisk();
    const first = await mount(seed + 1, now, { disk, ...journalFor(seed) }, seed);
    await first.caretaker.settled();
    await unmount(first);
    const second = again.below(disk.events.length + 1);
    now = now.map((_, device) => {
      const point = new CrashPoint(disk, device);
      point.advanceTo(second);
      return point.image(survivors(point.pending, again));
    });
  }
  const mounted = await mount(seed + 2, now, journalFor(seed), seed);
  const tree = (await describeFileSystem(mounted.fs)).join("\n");
  promisedTrees(recording, promised, { forced, all: tree });
  await mounted.caretaker.settled();
  await unmount(mounted);
  if (bitCount(mounted.volume.members.inSync) !== recording.copyCount) {
    throw new Error(`not all copies are in sync: ${mounted.notes.join("; ")}`);
  }
  const settled = imagesOf(mounted.devices);
  await known.checked.check(settled, again === undefined ? 1 : 2);
  const read = narrow ? lossyTreeOf : treeOf;
  for (let only = 0; only < recording.copyCount; only++) {
    const lone = await known.alone.of(settled, only, (alone) => read(seed, alone, { degraded: true }));
    if (narrow ? !isPartOf(lone, tree) : lone !== tree) throw new Error(`copy ${only} alone differs:\n${lone}`);
  }
  return { forced, all: tree };
}
