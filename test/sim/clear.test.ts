// h2ts clear: counts are forgotten for good, whoever opens the volume next; what a copy failed for and what it lacks is not.

import { expect, it } from "vitest";
import { carryOut } from "../../src/daemon/verbs.ts";
import { describeVolume } from "../../src/daemon/describe-volume.ts";
import { DeviceError } from "../../src/device/device.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formatted, imagesOf, mount, type Mounted, settle, unmount, worked } from "./copies-scene.ts";

const SEED = 950;
const NONE = { read: 0, write: 0, checksum: 0, repaired: 0 };

function counts({ volume, caretaker }: Mounted): unknown {
  return describeVolume(volume, caretaker).copies.map(({ state, errors, repaired }) => ({
    state,
    ...errors,
    repaired,
  }));
}

/** Bit rot on the second of three copies, met by a scrub. */
async function spoilt(): Promise<Mounted> {
  const { mounted } = await worked(SEED, await formatted(SEED, [24 * MIB, 24 * MIB, 24 * MIB]), {
    steps: 10,
    bulkBytes: 2 * MIB,
  });
  await unmount(mounted);
  const images = imagesOf(mounted.devices);
  for (let at = RING_AREA_KIB * KIB; at < RING_AREA_KIB * KIB + 2 * MIB; at += 50_000) images[1]?.flipBit(at, 3);
  const again = await mount(SEED, images);
  again.caretaker.startScrub();
  await settle(again);
  expect(again.copies.copy(1)?.counters.repaired).toBeGreaterThan(10);
  return again;
}

it("counts begin anew, and stay so when the process dies at once", async () => {
  const mounted = await spoilt();
  expect(await carryOut({ verb: "clear", args: {} }, mounted)).toBeUndefined();
  expect(mounted.notes.at(-1)).toMatch(/^copy 1 was cleared: it had 0 read, 0 write and \d+ checksum errors, and \d+ /);
  const whole = { state: "ONLINE", ...NONE };
  expect(counts(mounted)).toEqual([whole, whole, whole]);
  const next = await mount(SEED, imagesOf(mounted.devices));
  expect(counts(next)).toEqual([whole, whole, whole]);
  // Fewer than there were before are worth a commit at the unmount, too.
  next.copies.copy(1)!.errors.read = 1;
  await next.volume.noteErrors();
  expect(counts(await mount(SEED, imagesOf(next.devices)))).toEqual([whole, { ...whole, read: 1 }, whole]);
});

it("of one copy leaves those of others, and a copy that is away comes back without what it had", async () => {
  const mounted = await spoilt();
  const before = mounted.copies.copy(1)?.counters;
  expect(await carryOut({ verb: "clear", args: { copy: "0" } }, mounted)).toBeUndefined();
  expect(mounted.copies.copy(1)?.counters).toEqual(before);
  await unmount(mounted);
  const images = imagesOf(mounted.devices);
  const without = await mount(SEED, [images[0], undefined, images[2]]);
  expect(counts(without)).toMatchObject([{}, { state: "MISSING", ...before }, {}]);
  expect(await carryOut({ verb: "clear", args: { copy: "1" } }, without)).toBeUndefined();
  await unmount(without);
  const back = await mount(SEED, [without.devices[0]?.image, images[1], without.devices[2]?.image]);
  await settle(back);
  expect(counts(back)).toMatchObject([{}, { state: "ONLINE", ...NONE }, {}]);
  await unmount(back);
});

it("a copy that was dropped stays so, and a volume that is read-only is refused with its counts as they were", async () => {
  const mounted = await spoilt();
  const copy = mounted.copies.copy(1)!;
  copy.fail(new DeviceError("b", "write", 0, "EIO", "gone"));
  await mounted.volume.forceCommit();
  expect(await carryOut({ verb: "clear", args: {} }, mounted)).toBeUndefined();
  expect(counts(mounted)).toMatchObject([{}, { state: "FAULTED", ...NONE }, {}]);
  copy.errors.write = 3;
  mounted.volume.failWith(new Error("broken"));
  expect(await carryOut({ verb: "clear", args: {} }, mounted)).toMatchObject({ exitCode: 32 });
  expect(counts(mounted)).toMatchObject([{}, { state: "FAULTED", ...NONE, write: 3 }, {}]);
});

it.each(["write", "flush"] as const)(
  "a copy whose %s fails meanwhile has that one error, and the others none (I2)",
  async (operation) => {
    for (const nth of [1, 2]) {
      const mounted = await spoilt();
      for (const copy of mounted.copies.copies) copy.errors.read += 5;
      mounted.devices[1]?.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
      const calls = [{}, { copy: "2" }].map((args) => carryOut({ verb: "clear", args }, mounted));
      expect(await Promise.all(calls)).toEqual([undefined, undefined]);
      const left = { state: "ONLINE", ...NONE };
      const failed = { ...NONE, write: 1 };
      expect(counts(mounted)).toEqual([left, { state: "FAULTED", ...failed }, left]);
      const next = await mount(SEED, imagesOf(mounted.devices));
      expect(counts(next)).toMatchObject([left, failed, left]);
      await unmount(next);
    }
  },
);
