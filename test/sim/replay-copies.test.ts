// A copy that fails while what was completed after the newest root is carried out again, at a mount and at a take-over: whatever
// instant comes next takes the power, or the process, all that was acknowledged, or answered, is there afterwards (I2, I4, trap 6).

import { describe, expect, it } from "vitest";
import type { Fault } from "../../src/device/simulated-faults.ts";
import { KIB } from "../../src/format/geometry.ts";
import { Journal } from "../../src/log/journal.ts";
import { describeFileSystem } from "../model/digest.ts";
import { JOURNAL_BYTES, MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { copiesOf, devicesOver, type Images, imagesOf, type Mounted, mountOn } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const LIMIT_MS = 600_000;
const SEED = 121;
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

/** What is left of a mount: its devices, and its journal. */
interface Left {
  readonly images: Images;
  readonly journal: Uint8Array;
}

/** Work that is synced, none of it in a root: blocks that grow, whole windows, names. `wanted` is the tree. */
async function pending(): Promise<Left & { readonly wanted: readonly string[] }> {
  const real = await (await SimulatedVolume.format(SEED, [16 * MIB, 17 * MIB])).remount();
  const { fs } = real;
  const grown = (await fs.makeNode(ROOT, name("grown"), 0o100644, 0, 0, CALLER)).ino;
  for (let i = 0; i < 8; i++) await fs.write(grown, i * 4 * KIB, new Uint8Array(4 * KIB).fill(i + 1), {});
  const whole = (await fs.makeNode(ROOT, name("whole"), 0o100644, 0, 0, CALLER)).ino;
  await fs.write(whole, 0, new Uint8Array(128 * KIB).fill(7), {});
  for (let i = 0; i < 3; i++) await fs.makeNode(ROOT, name(`file-${i}`), 0o100644, 0, 0, CALLER);
  await fs.sync();
  const images = real.devices.map(({ image }) => image.copy());
  return { images, journal: (real.journal as Uint8Array).slice(), wanted: await describeFileSystem(fs) };
}

/** How the volume is opened by whoever comes next. */
interface Next {
  readonly takeOver: boolean;
  readonly seed: number;
  readonly prepare?: (devices: ReturnType<typeof devicesOver>, journal: Uint8Array) => void;
}

async function open(left: Left, { takeOver, seed, prepare }: Next): Promise<Mounted> {
  const devices = devicesOver(left.images);
  const memory = takeOver ? left.journal.slice() : new Uint8Array(JOURNAL_BYTES);
  prepare?.(devices, memory);
  const copies = await copiesOf(SEED, devices);
  // Where a ring can't be read the operator goes on without that copy.
  const options = { journal: new Journal(memory), takeOver, degraded: prepare !== undefined, start: false };
  const opening = mountOn(seed, devices, copies, options);
  return within(copies.clock as Mounted["clock"], LIMIT_MS, opening);
}

/** What is left after each flush of copy 0 during an open in which copy 1 has `fault`; false when that was never met. */
async function failsMeanwhile(left: Left, takeOver: boolean, fault: Fault): Promise<{ met: boolean; after: Left[] }> {
  const after: Left[] = [];
  const mounted = await open(left, {
    takeOver,
    seed: 1000 + fault.nth,
    prepare: (devices, journal) => {
      devices[1]!.fail(fault);
      const first = devices[0]!;
      const flush = first.flush.bind(first);
      first.flush = async () => {
        await flush();
        after.push({ images: imagesOf(devices).map((image) => image!.copy()), journal: journal.slice() });
      };
    },
  });
  after.push({ images: imagesOf(mounted.devices), journal: left.journal });
  return { met: mounted.devices[1]!.calls[fault.operation] >= fault.nth, after };
}

describe.each([false, true])("a copy that fails during the replay (take-over: %s)", (takeOver) => {
  it.each([
    { operation: "write", permanent: true, effect: { kind: "error", code: "EIO" } },
    { operation: "flush", permanent: true, effect: { kind: "error", code: "EIO" } },
    { operation: "read", permanent: true, effect: { kind: "hang" } },
  ] as const)("at its n-th $operation costs nothing that was answered, for every n (I4, trap 6)", async (kind) => {
    const { wanted, ...left } = await pending();
    let tried = 0;
    for (let nth = 1; ; nth++) {
      const { met, after } = await failsMeanwhile(left, takeOver, { ...kind, nth });
      if (!met) break;
      for (const [flush, found] of after.entries()) {
        const last = flush === after.length - 1;
        const mounted = await open(found, { takeOver: takeOver && !last, seed: 5000 + 100 * nth + flush });
        const place = `${kind.operation} ${nth}, after flush ${flush + 1} of ${after.length - 1}`;
        expect(await describeFileSystem(mounted.fs), place).toEqual(wanted);
      }
      tried++;
    }
    expect(tried).toBeGreaterThan(1);
  });
});
