// Work in the background keeps to the speed it was given, and whoever ends it does not wait that out.

import { expect, it } from "vitest";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { Pace } from "../../src/walk/pace.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedNodes, type Mounted, targetOf, unmount, worked } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

/** A second's worth takes an hour and more. */
const BYTES_PER_SECOND = 256;
const AT_ONCE_MS = 100;

async function paced(seed: number): Promise<Mounted & { readonly slow: Caretaker }> {
  const images = await formattedNodes(seed, [24 * MIB, 24 * MIB]);
  const { mounted } = await worked(seed, images, { steps: 5, bulkBytes: 3 * MIB });
  const { volume, clock } = mounted;
  return { ...mounted, slow: new Caretaker(volume, { clock, bytesPerSecond: BYTES_PER_SECOND }) };
}

it("what several walks move together takes as long as the bound says", async () => {
  const clock = new SimulatedClock();
  const pace = new Pace(clock, 1000);
  const over: string[] = [];
  for (const walk of ["a", "b"]) void pace.take({}, 2000).then(() => over.push(walk));
  await clock.advance(1999);
  expect(over).toEqual([]);
  await clock.advance(1);
  expect(over).toEqual(["a"]);
  await clock.advance(2000);
  expect(over).toEqual(["a", "b"]);
});

it("a scrub that is cancelled, or paused, goes no further", async () => {
  const { slow, clock, ...mounted } = await paced(3100);
  const cancelled = slow.startScrub();
  await clock.advance(AT_ONCE_MS);
  cancelled.cancel();
  await within(clock, AT_ONCE_MS, slow.settled("scrub"));
  expect(slow.lastScrub?.end).toBe("cancelled");
  const scrub = slow.startScrub();
  await clock.advance(AT_ONCE_MS);
  const { blocks } = scrub.record;
  scrub.pause();
  await clock.advance(AT_ONCE_MS);
  // The step under way is over.
  expect(scrub.record.blocks).toBeGreaterThan(blocks);
  await within(clock, AT_ONCE_MS, slow.close());
  await unmount({ ...mounted, clock });
});

it("a copy is taken out, detached or unmounted although the next of it is not due yet", async () => {
  for (const [seed, end] of [
    [3110, ({ volume, slow }: Awaited<ReturnType<typeof paced>>) => takeOut(volume, slow, 2, { lasting: true })],
    [3111, ({ slow }: Awaited<ReturnType<typeof paced>>) => slow.detach(2).then(() => slow.settled())],
    [3112, ({ slow }: Awaited<ReturnType<typeof paced>>) => slow.close()],
  ] as const) {
    const mounted = await paced(seed);
    const { slow, clock } = mounted;
    await slow.attach(targetOf(new SimulatedDevice("new", 24 * MIB)));
    await clock.advance(AT_ONCE_MS);
    expect(slow.catchUps.get(2)).toMatchObject({ end: undefined });
    await within(clock, AT_ONCE_MS, end(mounted));
    expect(slow.catchUps.get(2)).toMatchObject({ end: "stopped", progress: { bytes: 0 } });
    await unmount(mounted);
  }
});
