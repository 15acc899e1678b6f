// A process killed at any stage of the replacement of a node, and whoever takes its place: with the row that the supervisor was told of,
// be it the old one or the new one, nothing that was completed is lost, the mount goes on, and the copy becomes whole (I1, I4, I6, I7).

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { hasNodeHeaderMagic, NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { Journal } from "../../src/log/journal.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { describeFileSystem } from "../model/digest.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import {
  findings,
  formattedRows,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  mountOn,
  settle,
  targetOf,
  treeOf,
  unmount,
  worked,
} from "./copies-scene.ts";

/** One copy on a device, and one on a row; what follows moves a node of the second. */
const ROWS = [[34 * MIB], [16 * MIB, 18 * MIB]];
const COPY = 1;

/** What outlives a process that is killed now. */
interface Stage {
  /** Number of writes and flushes of all devices before. */
  readonly events: number;
  readonly memory: Uint8Array;
  /** How many steps were answered; one more may be under way. */
  readonly steps: number;
}

interface Replacement {
  readonly disk: SimulatedDisk;
  readonly stages: readonly Stage[];
  /** What there was after each number of steps. */
  readonly trees: readonly string[];
  readonly volumeUuid: Uint8Array;
}

function hasHeader(image: PagedImage): boolean {
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  image.read(0, bytes);
  return hasNodeHeaderMagic(bytes);
}

/** Has a node replaced under work; its stages are before and after every root that is written meanwhile. */
async function replaced(seed: number, position: number): Promise<Replacement> {
  const { work, mounted: before } = await worked(seed, await formattedRows(seed, ROWS), { steps: 8, bulkBytes: MIB });
  await unmount(before);
  const [disk, memory] = [new SimulatedDisk(), new Uint8Array(JOURNAL_BYTES)];
  const mounted = await mount(seed, imagesOf(before.devices), { disk, journal: new Journal(memory) });
  const { volume, caretaker } = mounted;
  const device = new SimulatedDevice("new", 20 * MIB, { disk });
  const trees = [await work.tree()];
  const stages: Stage[] = [];
  const note = (): void =>
    void stages.push({ events: disk.events.length, memory: memory.slice(), steps: trees.length - 1 });
  const write = volume.rings.write.bind(volume.rings);
  volume.rings.write = async (image) => {
    note();
    await write(image);
    note();
  };
  const random = new SeededRandom(seed + 5);
  const done = replaceNode(volume, caretaker, { index: COPY, position }, targetOf(device), random);
  for (let i = 0; i < 4; i++) {
    await work.run(mounted.fs, 1);
    trees.push(await work.tree());
  }
  await done;
  await settle(mounted);
  expect(volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
  await unmount(mounted);
  return { disk, stages, trees, volumeUuid: volume.uuid };
}

/** The next process, with these images: undefined for a device that is gone. */
async function takenOver(seed: number, images: Images, memory: Uint8Array, volumeUuid: Uint8Array): Promise<Mounted> {
  const clock = new SimulatedClock();
  const devices = images.map((image, i) => image && new SimulatedDevice(`copy${i}`, image.sizeBytes, { image }));
  const there = devices.filter((device) => device !== undefined).map(targetOf);
  const copies = await assembleCopies(there, { clock, lenient: true, takesOver: { volumeUuid } });
  return mountOn(seed + 100, devices, copies, { journal: new Journal(memory), takeOver: true });
}

describe("a process killed while a node is replaced", () => {
  it.each([0, 1])("(%d) is followed by one that goes on with either row", async (position) => {
    const seed = 6600 + position;
    const { disk, stages, trees, volumeUuid } = await replaced(seed, position);
    const points = Array.from({ length: 4 }, (_, device) => new CrashPoint(disk, device));
    const tried = { old: 0, new: 0 };
    for (const [at, { events, memory, steps }] of stages.entries()) {
      // Whatever was asked for lands, as on a machine that goes on.
      const landed = points.map((point) => {
        point.advanceTo(events);
        return point.image(point.pending.map((event) => ({ event })));
      });
      const fresh = landed.pop() as PagedImage;
      // Either row while the copy leaves sync; then, since every stage costs a mount, turn and turn about, and not at all of them.
      const rows = at < 4 ? (["old", "new"] as const) : ([["new"], [], ["old"], []] as const)[at % 4]!;
      for (const row of rows) {
        const chosen = landed.map((image, i) => (i === 1 + position && row === "new" ? fresh : image));
        if (!hasHeader(chosen[1 + position]!)) continue;
        tried[row]++;
        const next = await takenOver(seed, chosen, memory.slice(), volumeUuid);
        const tree = (await describeFileSystem(next.fs)).join("\n");
        const what = `seed ${seed}, stage ${at} of ${stages.length}, the ${row} row`;
        expect(trees.slice(steps, steps + 2), what).toContain(tree);
        await settle(next);
        await unmount(next);
        expect(next.volume.members.inSync, `${what}\n${next.notes.join("\n")}`).toBe(0b11);
        const after = imagesOf(next.devices);
        expect(await findings(seed, after), what).toEqual([]);
        expect(await treeOf(seed, [undefined, ...after.slice(1)], { degraded: true }), what).toBe(tree);
      }
    }
    expect(Math.min(tried.old, tried.new)).toBeGreaterThan(2);
  });
});
