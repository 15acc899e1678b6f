// A device that stops answering while a volume is mounted, or taken over by another process (I9): from any read on, for every
// copy. The mount comes to its end without that copy and has everything. Devices that a volume does not know yet, and those
// that an offline tool looks at, keep nobody waiting either.

import { describe, expect, it } from "vitest";
import { assemble, assembleCopies, type AssembleOptions } from "../../src/copies/assemble.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { OpenError } from "../../src/device/open-error.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { Journal } from "../../src/log/journal.ts";
import { resolveCopies } from "../../src/volume/resolve-copies.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { describeFileSystem } from "../model/digest.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  findings,
  formatted,
  formattedNodes,
  formattedRows,
  type Images,
  imagesOf,
  mount,
  mountOn,
  targetOf,
  treeOf,
  unmount,
  worked,
} from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];
const HANG = { permanent: true, effect: { kind: "hang" } } as const;

interface Left {
  readonly seed: number;
  readonly images: Images;
  readonly journal: Uint8Array;
  readonly tree: string;
}

/** What a process leaves that is killed: some of its work in the log, some in the journal only. */
async function killed(seed: number, copyCount: number): Promise<Left> {
  const memory = new Uint8Array(JOURNAL_BYTES);
  const fresh = await formatted(seed, SIZES.slice(0, copyCount));
  const { work, mounted } = await worked(
    seed,
    fresh,
    { steps: 8, maxBytes: 80_000, bulkBytes: MIB / 4 },
    { journal: new Journal(memory) },
  );
  const left = { images: mounted.devices.map((device) => device?.image.copy()), journal: memory.slice() };
  await unmount(mounted);
  return { seed, ...left, tree: await work.tree() };
}

/** False when the copy was read less than `nth` times until the volume was open. */
async function mountsWithout(left: Left, copy: number, nth: number, takeOver: boolean): Promise<boolean> {
  const { seed } = left;
  const clock = new SimulatedClock();
  const devices = devicesOver(left.images);
  const copies = await copiesOf(seed, devices, false, clock);
  devices[copy]!.fail({ operation: "read", nth, ...HANG });
  const memory = takeOver ? left.journal.slice() : new Uint8Array(JOURNAL_BYTES);
  const options = { journal: new Journal(memory), takeOver, master: copy, start: false };
  // Where its ring can't be read the operator goes on without it; whoever takes over knows that nothing is hidden there.
  const opening = mountOn(seed, devices, copies, { ...options, degraded: devices.length === 2 && !takeOver });
  const mounted = await within(clock, 4 * DEADLINE_MS_DEFAULT, opening);
  const reached = devices[copy]!.calls.read >= nth;
  const tree = await within(clock, 4 * DEADLINE_MS_DEFAULT, describeFileSystem(mounted.fs));
  expect(tree.join("\n")).toBe(left.tree);
  await within(clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
  expect(mounted.volume.failed).toBe(false);
  if (copies.copy(copy)!.stalled) {
    expect(mounted.volume.members.inSync).toBe(((1 << devices.length) - 1) & ~(1 << copy));
    const others = imagesOf(devices).map((image, i) => (i === copy ? undefined : image));
    if (nth % 5 !== 0) return reached;
    expect(await findings(seed, others, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, others)).toBe(left.tree);
  }
  return reached;
}

describe("a device that hangs from any read on", () => {
  for (const copyCount of [2, 3]) {
    for (const takeOver of [false, true]) {
      it(`does not stop ${takeOver ? "who takes over" : "the mount"} of ${copyCount} copies`, async () => {
        for (let copy = 0; copy < copyCount; copy++) {
          const left = await killed(2800 + 10 * copyCount + copy, copyCount);
          let nth = 1;
          const next = (): Promise<boolean> =>
            mountsWithout(left, copy, nth, takeOver).catch((error: unknown) => {
              throw new Error(`seed ${left.seed}, copy ${copy}, read ${nth}`, { cause: error });
            });
          while (await next()) nth++;
          expect(nth).toBeGreaterThan(9);
        }
      });
    }
  }
});

describe("a device that does not answer", () => {
  it("when its header is read is missing, and refused where it is needed", async () => {
    const clock = new SimulatedClock();
    const devices = devicesOver(await formattedNodes(2850, SIZES)).filter((device) => device !== undefined);
    devices[1]!.fail({ operation: "read", nth: 1, ...HANG });
    devices[1]!.close = () => new Promise(() => undefined);
    const options = { clock, openMs: DEADLINE_MS_DEFAULT };
    const lenient = assembleCopies(devices.map(targetOf), { ...options, lenient: true });
    const { mask, absent } = await within(clock, 2 * DEADLINE_MS_DEFAULT, lenient);
    expect(mask).toBe(0b101);
    expect(absent).toEqual([expect.stringMatching(/copy1.*does not answer/)]);
    const strict = assembleCopies(devices.map(targetOf), options);
    await expect(within(clock, 2 * DEADLINE_MS_DEFAULT, strict)).rejects.toThrow(/copy1.*does not answer/);
  });

  it("keeps nobody waiting who refuses the targets for what another one is", async () => {
    const [good, hung, other] = devicesOver([
      ...(await formattedNodes(2852, SIZES.slice(0, 2))),
      ...(await formattedNodes(2853, SIZES.slice(0, 1))),
    ]) as SimulatedDevice[];
    // Of names in a folder the system is asked, in its own time.
    const first = "nbd://first/0";
    const takesOver = { volumeUuid: (await copiesOf(2852, [good])).volumeUuid };
    const open = (what: Record<string, SimulatedDevice>) => (name: string) =>
      what[name] === undefined
        ? Promise.reject(new OpenError(name, "open", "ENOENT", "no such file or device"))
        : Promise.resolve(what[name]);
    const cases: [Record<string, SimulatedDevice>, Omit<AssembleOptions, "open">, RegExp][] = [
      [{}, { lenient: true }, /hung\/\d: does not answer/],
      [{}, { lenient: true, takesOver }, /hung\/\d: does not answer/],
      [{ [first]: new SimulatedDevice(first, 24 * MIB) }, {}, /first\/0: is not an h2ts volume/],
      [{ [first]: good!, "nbd://third/0": other! }, { lenient: true }, /copy2: belongs to volume/],
    ];
    for (const [i, [others, options, message]] of cases.entries()) {
      const clock = new SimulatedClock();
      const name = `nbd://hung/${i}`;
      const device = new SimulatedDevice(name, hung!.sizeBytes, { image: hung!.image });
      device.fail({ operation: "read", nth: 1, ...HANG });
      device.close = () => new Promise(() => undefined);
      const given = { clock, openMs: DEADLINE_MS_DEFAULT, ...options, open: open({ ...others, [name]: device }) };
      const refused = assemble([first, name, ...Object.keys(others).filter((key) => key !== first)], given);
      await expect(within(clock, 2 * DEADLINE_MS_DEFAULT, refused)).rejects.toThrow(message);
    }
  });

  it("when a copy or a node is to be made of it is refused in time", async () => {
    for (const operation of ["read", "write", "flush"] as const) {
      const images = await formattedRows(2860, [[24 * MIB], [16 * MIB, 18 * MIB]]);
      const mounted = await mount(2860, images);
      const { clock, volume, caretaker } = mounted;
      const hung = (): SimulatedDevice => {
        const device = new SimulatedDevice("hung", 24 * MIB);
        device.fail({ operation, nth: 1, ...HANG });
        return device;
      };
      const attached = caretaker.attach(targetOf(hung()));
      await expect(within(clock, 60_000, attached)).rejects.toThrow(/hung.*does not answer/);
      if (operation !== "read") {
        const replaced = replaceNode(volume, caretaker, { index: 1, position: 0 }, targetOf(hung()));
        await expect(within(clock, 60_000, replaced)).rejects.toThrow(/hung.*does not answer/);
      }
      expect(volume.members.inSync).toBe(0b11);
      await unmount(mounted);
    }
  });

  it("is not waited for by who gives up what it holds", async () => {
    for (const operation of ["read", "write"] as const) {
      const seed = 2870;
      const images = await formatted(seed, SIZES.slice(0, 2));
      const apart: (typeof images)[number][] = [];
      for (const only of [0, 1]) {
        const alone = images.map((image, i) => (i === only ? image : undefined));
        const { mounted } = await worked(seed, alone, { steps: 2 }, { degraded: true });
        await unmount(mounted);
        apart[only] = imagesOf(mounted.devices)[only];
      }
      const clock = new SimulatedClock();
      const devices = devicesOver(apart);
      const copies = await copiesOf(seed, devices, false, clock);
      devices[1]!.fail({ operation, nth: 1, ...HANG });
      const resolved = within(clock, 4 * DEADLINE_MS_DEFAULT, resolveCopies(copies, 0, 1));
      await expect(resolved).rejects.toThrow(/copy1.*no answer/);
    }
  });
});
