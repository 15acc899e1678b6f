// All histories of mounts and partitions (fault table: split brain): at every step some of the copies are visible, the
// volume is mounted by itself or by force (-o degraded), something is written and acknowledged, and what was stale is
// caught up or left half done. Whatever happened before: a mount that needs no force sees everything acknowledged, no
// mount sees a mixture of two histories, and copies that parted are refused (I6).
// States that look alike (same roots, up to names of epochs and distances of sequences) are followed once, and each goes on
// from the images of the one before it. Of the kinds of mount those that could not differ may be left out (`pruned`).

import { expect } from "vitest";
import { toHex } from "../../src/base/uuid.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { readRings, type Ring, type RingRoot, ringRoots } from "../../src/copies/ring.ts";
import { rootEpoch, rootInSync } from "../../src/format/root-block.ts";
import { rootMemberFlags } from "../../src/format/root-members.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import { copiesOf, devicesOver, formatted, type Images, imagesOf, mount, unmount } from "./copies-scene.ts";

const SEED = 11;

interface State {
  readonly images: Images;
  /** Names acknowledged at each state the volume was ever in, as sorted text. */
  readonly known: ReadonlySet<string>;
  /** Those of them that were written by force: copies that were not there may go on without. */
  readonly forced: ReadonlySet<string>;
  /** For each copy, the names it certainly holds. */
  readonly complete: readonly string[];
  readonly path: string;
}

interface Step {
  readonly visible: number;
  readonly degraded: boolean;
  readonly settle: boolean;
}

/** Where a step led. */
interface Taken {
  readonly state: State;
  /** It was mounted, and written to. */
  readonly wrote: boolean;
  /** A visible copy was not in sync: the caretaker had something to do. */
  readonly unsettled: boolean;
}

/** All orders of the numbers below `count`. */
function orders(count: number): number[][] {
  if (count === 0) return [[]];
  return orders(count - 1).flatMap((order) =>
    Array.from({ length: count }, (_, at) => [...order.slice(0, at), count - 1, ...order.slice(at)]),
  );
}

/**
 * What decides how copies are judged, with epochs named in order of appearance and sequences by rank. Where copies count as
 * `alike`, of the shapes that differ by their order only the first by alphabet stands for all.
 */
async function shapeOf(images: Images, complete: readonly string[], alike: boolean): Promise<string> {
  const { rings } = await readRings(await copiesOf(SEED, devicesOver(images), true));
  const roots = rings.map((ring) => [...ringRoots(ring), ...(ring.anchor === undefined ? [] : [ring.anchor])]);
  const sequences = [...new Set(roots.flat().map(({ sequence }) => sequence))].sort((a, b) => a - b);
  return (alike ? orders(images.length) : [[...images.keys()]])
    .map((order) => shapeInOrder(order, rings, sequences, complete))
    .sort()[0] as string;
}

function shapeInOrder(
  order: readonly number[],
  rings: readonly Ring[],
  sequences: readonly number[],
  complete: readonly string[],
): string {
  const epochs = new Map<string, number>();
  const nameOf = (root: RingRoot): string => {
    const epoch = toHex(rootEpoch(root.view));
    if (!epochs.has(epoch)) epochs.set(epoch, epochs.size);
    const inSync = rootInSync(root.view);
    const members = order.map((index) => `${(inSync >>> index) & 1}${rootMemberFlags(root.view, index)}`).join("");
    return `${epochs.get(epoch)}.${sequences.indexOf(root.sequence)}.${members}`;
  };
  const parts = order.map((index) => {
    const ring = rings[index] as Ring;
    const anchor = ring.anchor === undefined ? "-" : nameOf(ring.anchor);
    return `${ringRoots(ring).map(nameOf).join(",")}|${anchor}`;
  });
  const names = order.map((index) => complete[index] as string);
  const lengths = names.map((a) => names.map((b) => (isPart(a, b) ? 1 : 0)).join("")).join();
  return `${parts.join(" ")} ${lengths}`;
}

/** True when every name of `a` is in `b`. */
function isPart(a: string, b: string): boolean {
  const names = new Set(b.split(" "));
  return a.split(" ").every((name) => names.has(name));
}

const sizeOf = (names: string): number => names.split(" ").length;

async function namesIn(fs: Parameters<typeof describeFileSystem>[0]): Promise<string> {
  const lines = await describeFileSystem(fs);
  return lines
    .map((line) => (line.split(" ")[0] as string).replaceAll("/", ""))
    .sort()
    .join(" ");
}

async function take(state: State, step: Step, number: number): Promise<Taken> {
  const path = `${state.path} ${step.visible.toString(2)}${step.degraded ? "!" : ""}${step.settle ? "" : "~"}`;
  const visible = state.images.map((image, i) => ((step.visible >>> i) & 1 ? image : undefined));
  const held = state.complete.filter((_, i) => (step.visible >>> i) & 1);
  const parted = held.some((a) => held.some((b) => !isPart(a, b) && !isPart(b, a)));
  let mounted;
  try {
    mounted = await mount(SEED + number, visible, { degraded: step.degraded, start: false }, SEED);
  } catch (error) {
    if (!(error instanceof CopiesError)) throw error;
    if (!parted && step.visible === 2 ** state.images.length - 1 && !state.path.includes("!")) {
      throw new Error(`${path}: refused although every copy is there`, { cause: error });
    }
    return { state: { ...state, path: `${path}x` }, wrote: false, unsettled: false };
  }
  expect(parted, `${path}: histories that parted were joined`).toBe(false);
  const seen = await namesIn(mounted.fs);
  expect([...state.known], `${path}: a state that never was`).toContain(seen);
  for (const names of held) expect(isPart(names, seen), `${path}: something a visible copy holds is gone`).toBe(true);
  if (!step.degraded) {
    const next = [...state.known].filter((names) => isPart(seen, names) && sizeOf(names) === sizeOf(seen) + 1);
    const newer = next.filter((names) => !state.forced.has(names));
    expect(newer, `${path}: something acknowledged is hidden`).toEqual([]);
  }
  if (mounted.volume.readOnly !== undefined)
    return { state: { ...state, path: `${path}r` }, wrote: false, unsettled: false };
  const unsettled = mounted.copies.copies.some(({ standing }) => standing !== "in-sync");
  mounted.caretaker.start();
  await runStep(mounted.fs, { do: "create", at: [`n${number}`] });
  await mounted.fs.sync();
  if (step.settle) await mounted.caretaker.settled();
  await unmount(mounted);
  const written = await namesIn(mounted.fs);
  const fresh = imagesOf(mounted.devices);
  const after = {
    images: state.images.map((image, i) => fresh[i] ?? image),
    known: new Set([...state.known, written]),
    forced: step.degraded ? new Set([...state.forced, written]) : state.forced,
    complete: state.complete.map((names, i) => ((mounted.volume.members.inSync >>> i) & 1 ? written : names)),
    path,
  };
  return { state: after, wrote: true, unsettled };
}

/**
 * What the next mount with the copies `visible` may lead to. With `pruned`, not tried are: force where none is needed, since
 * it is asked for only instead of a refusal; and leaving half done what there was nothing of to do.
 */
async function* successors(state: State, visible: number, pruned: boolean, next: () => number): AsyncGenerator<State> {
  for (const degraded of [false, true]) {
    const settled = await take(state, { visible, degraded, settle: true }, next());
    if (!pruned || settled.wrote) yield settled.state;
    if (!pruned || settled.unsettled) yield (await take(state, { visible, degraded, settle: false }, next())).state;
    if (pruned && settled.wrote) return;
  }
}

/**
 * Goes through all histories of up to `depth` mounts; throws at the first that breaks a promise. `states`: how many distinct
 * ones were gone on from.
 */
export async function explore(
  copyCount: number,
  depth: number,
  { alike, pruned }: { readonly alike: boolean; readonly pruned: boolean },
): Promise<{ states: number; mounts: number }> {
  const images = await formatted(SEED, new Array<number>(copyCount).fill(20 * MIB));
  let level: State[] = [{ images, known: new Set([""]), forced: new Set(), complete: images.map(() => ""), path: "" }];
  const shapes = new Set<string>();
  let mounts = 0;
  for (let length = 1; length <= depth; length++) {
    const next: State[] = [];
    for (const state of level) {
      for (let visible = 1; visible < 2 ** copyCount; visible++) {
        for await (const after of successors(state, visible, pruned, () => ++mounts)) {
          if (length === depth) continue;
          const shape = await shapeOf(after.images, after.complete, alike);
          if (shapes.has(shape)) continue;
          shapes.add(shape);
          next.push(after);
        }
      }
    }
    level = next;
  }
  return { states: shapes.size, mounts };
}
